"""The table that ``tools.architectures`` makes, for some of timm's networks: ``python -m tools.timm_networks [NAME ...]``.

Needs ``pip install timm``, which nothing else here does. Untrained networks, so nothing is downloaded.
"""

import sys
from importlib import import_module

import torch
from torch import nn

from tools.architectures import documented, examine_network, write

BEGIN, END = "<!-- made by python -m tools.timm_networks -->", "<!-- end of that of timm's -->"

NETWORKS = (
    "convnext_atto", "convnextv2_atto", "cspresnet50", "densenet121", "dla34", "dpn68", "ecaresnet26t", "efficientnet_b0",
    "ese_vovnet19b_dw", "fbnetc_100", "ghostnet_100", "ghostnetv2_100", "hardcorenas_a", "hrnet_w18_small", "lcnet_050",
    "mixnet_s", "mobilenetv3_small_050", "mobileone_s0", "nf_regnet_b0", "nfnet_l0", "regnety_002", "repvgg_a0",
    "res2net50_26w_4s", "resnest14d", "resnet18", "resnetv2_50x1_bit", "rexnet_100", "selecsls42", "tf_efficientnet_b0",
    "tinynet_e", "vgg11", "xception41",
)  # fmt: skip
"""One or two of each family, the smallest."""


def main(names: list[str]) -> None:
    """Examine these networks, or all of ``NETWORKS``, and write their rows into the page."""
    timm = import_module("timm")
    print(f"timm {timm.__version__}")
    for name in names or NETWORKS:
        torch.manual_seed(0)
        network: nn.Module = timm.create_model(name)
        row = str(examine_network(name, sum(each.numel() for each in network.parameters()) / 1e6, network))
        print(row, flush=True)
        write(documented(BEGIN, END) | {name: row}, BEGIN, END)


if __name__ == "__main__":
    main(sys.argv[1:])
