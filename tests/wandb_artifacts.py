"""The part of the stand-in for W&B's server that keeps artifacts: which run logged or used them, and their files."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Artifact:
    """A collection of files with a name and a type. ``logged_by`` is a run, or None for one that runs only use."""

    id: str
    name: str
    type: str
    digest: str
    logged_by: str | None
    aliases: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    used_by: list[str] = field(default_factory=list)
    committed: bool = False


class ArtifactStore:
    """Answers the GraphQL operations about artifacts, each by the method of its name."""

    url: str

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}

    def artifacts_of(self, run: str) -> list[Artifact]:
        """The artifacts that a run logged or used."""
        return [each for each in self.artifacts.values() if run in (each.logged_by, *each.used_by)]

    def _upload(self, artifact: str, name: str) -> Json:
        place = f"{self.url}/artifact/{artifact}/{name}"
        return {"id": f"{artifact}/{name}", "uploadUrl": place, "uploadHeaders": [], "storagePath": f"{artifact}/{name}"}

    def _CreateArtifact(self, variables: Json) -> Json:
        asked = variables["input"]
        name = asked["artifactCollectionName"]
        made = Artifact(f"artifact{len(self.artifacts) + 1}", name, asked["artifactTypeName"], asked["digest"],
                        asked["runName"], [each["alias"] for each in asked["aliases"]])  # fmt: skip
        self.artifacts[made.id] = made
        answer = {"id": made.id, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": answer}}

    def _CreateArtifactManifest(self, variables: Json) -> Json:
        artifact = variables["artifactID"]
        answer = {"id": artifact, "file": self._upload(artifact, "wandb_manifest.json")}
        return {"createArtifactManifest": {"artifactManifest": answer}}

    def _UpdateArtifactManifest(self, variables: Json) -> Json:
        artifact = variables["artifactManifestID"]
        answer = {"id": artifact, "file": self._upload(artifact, "wandb_manifest.json")}
        return {"updateArtifactManifest": {"artifactManifest": answer}}

    def _CreateArtifactFiles(self, variables: Json) -> Json:
        files = variables["input"]["artifactFiles"]
        nodes = [
            self._upload(file["artifactID"], file["name"])
            | {"uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}
            for file in files
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, variables: Json) -> Json:
        artifact = self.artifacts[variables["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _UseArtifact(self, variables: Json) -> Json:
        asked = variables["input"]
        self.artifacts[asked["artifactID"]].used_by.append(asked["runName"])
        return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}

    def _ArtifactByID(self, variables: Json) -> Json:
        artifact = self.artifacts[variables["id"]]
        project = {"id": "1", "internalId": "1", "name": "p", "entity": {"name": "someone"}}
        answer: Json = {
            "__typename": "Artifact", "id": artifact.id, "versionIndex": 0, "artifactType": {"name": artifact.type},
            "artifactSequence": {"__typename": "ArtifactSequence", "name": artifact.name, "project": project},
            "description": None, "metadata": None, "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [],
            "historyStep": None, "state": "COMMITTED", "size": sum(map(len, artifact.files.values())),
            "digest": artifact.digest, "commitHash": None, "fileCount": len(artifact.files), "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None, "aliases": [],
        }  # fmt: skip
        return {"artifact": answer}

    def _ArtifactType(self, variables: Json) -> Json:
        return {"project": {"artifact": None}}  # of a name that is taken: none is
