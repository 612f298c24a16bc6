// The page's one script: a state (epoch, probe, layer, map) that lives in the link, and functions that show it.
"use strict";
{
  const page = JSON.parse(document.getElementById("data").textContent);
  const specs = JSON.parse(document.getElementById("charts-data").textContent);
  const views = new Map();
  const $ = (id) => document.getElementById(id);
  const state = { e: page.epochs, p: 0, l: page.layers[0] ?? "", r: 0, u: 0 };
  let playing = 0;

  // --- the state and its link: #e=12&p=3&l=conv5&u=17&r=1; u is the open map, of run r. A link may end in s=curves, the id of
  // --- the part of the page to begin at

  function followLink() {
    const given = new URLSearchParams(location.hash.slice(1));
    const number = (key, low, high, otherwise) => {
      const value = Number.parseInt(given.get(key) ?? "", 10);
      return value >= low && value <= high ? value : otherwise;
    };
    state.e = number("e", 1, page.epochs, state.e);
    state.p = number("p", 0, page.probes.length - 1, state.p);
    state.r = number("r", 0, page.runs.length - 1, 0);
    state.l = page.layers.includes(given.get("l")) ? given.get("l") : state.l;
    const units = page.runs[state.r].pictures.units[state.l] ?? [];
    const unit = number("u", 1, Number.MAX_SAFE_INTEGER, 0);
    state.u = units.includes(unit) ? unit : 0;
    show();
    $(given.get("s"))?.scrollIntoView();
  }

  function linkTo(epoch) {
    const parts = [`e=${epoch}`, `p=${state.p}`, `l=${encodeURIComponent(state.l)}`];
    if (state.u) parts.push(`u=${state.u}`, `r=${state.r}`);
    return `#${parts.join("&")}`;
  }

  // --- pictures ---

  // A source is "#17" for the 17th picture inside this file, or the address of a file beside it.
  function address(source) {
    if (!source) return "";
    return source[0] === "#" ? `data:image/webp;base64,${$(`p${source.slice(1)}`).textContent}` : source;
  }

  async function setImage(image, source) {
    image.dataset.shown = source ?? "";
    image.hidden = !source;
    if (!source) {
      image.removeAttribute("src");
      return;
    }
    const next = new Image();
    next.src = address(source);
    await next.decode().catch(() => undefined); // decoded before it is shown, so that nothing flickers
    if (image.dataset.shown === source) image.src = next.src;
  }

  function place(kind, layer) {
    const probe = page.probes[state.p]?.place ?? "";
    return { deconvolution: `${probe}/${layer}`, denet: probe, filters: page.layers[0], top_activations: layer }[kind];
  }

  function entryOf(run, kind, layer, epoch = state.e) {
    return page.runs[run].pictures[kind][place(kind, layer)]?.[epoch];
  }

  // Says that a picture of this epoch is missing, and leads to the nearest ones.
  function sayAbsent(element, run, kind, layer) {
    const epochs = Object.keys(page.runs[run].pictures[kind][place(kind, layer)] ?? {}).map(Number);
    const near = [epochs.filter((each) => each < state.e).pop(), epochs.find((each) => each > state.e)];
    const links = near.filter((each) => each !== undefined).map((each) => {
      const link = document.createElement("a");
      link.href = linkTo(each);
      link.textContent = each;
      return link;
    });
    element.replaceChildren(links.length ? `No picture of epoch ${state.e}; the nearest are of ` : "This run has no such picture.");
    links.forEach((link, number) => { element.append(number ? " and " : "", link); });
    if (links.length) element.append(".");
  }

  function setTile(tile, entry, index) {
    const at = entry.places[index];
    const [column, row] = [at % entry.columns, Math.floor(at / entry.columns)];
    const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
    tile.style.backgroundImage = `url("${address(entry.sprites.maps)}")`;
    tile.style.backgroundSize = `${100 * entry.columns}% ${100 * entry.rows}%`;
    tile.style.backgroundPosition = `${share(column, entry.columns)}% ${share(row, entry.rows)}%`;
  }

  function rangeWords(ranges) {
    const words = Object.entries(ranges).map(([name, value]) => `${name.replace("-", " ")} ${value === null ? "not finite" : `±${value}`}`);
    return words.length ? `grey is 0; white and black: ${words.join(", ")}` : "";
  }

  function showCell(cell) {
    const { run, kind } = cell.dataset;
    const layer = cell.dataset.layer ?? state.l;
    const entry = entryOf(run, kind, layer);
    const absent = cell.querySelector(".absent");
    const tiles = cell.querySelectorAll("button.tile");
    if (!cell.querySelector("img, .strips")) return; // of a layer that the run doesn't have
    cell.classList.toggle("empty", !entry);
    absent.hidden = Boolean(entry);
    if (entry) absent.replaceChildren();
    else sayAbsent(absent, run, kind, layer);
    for (const [selector, text] of [[".note", entry?.note], [".range", entry && rangeWords(entry.ranges)]]) {
      const words = cell.querySelector(selector);
      if (words) words.textContent = text ?? "";
    }
    for (const image of cell.querySelectorAll("img[data-sprite]")) setImage(image, entry?.sprites[image.dataset.sprite]);
    tiles.forEach((tile, index) => {
      if (entry) setTile(tile, entry, index);
      else tile.style.backgroundImage = "none";
    });
    if (entry?.filters) {
      cell.style.setProperty("--columns", entry.filters.columns);
      cell.style.setProperty("--rows", Math.ceil(entry.filters.of / entry.filters.columns));
    }
    if (kind === "top_activations") showStrips(cell.querySelector(".strips"), entry, entry?.maps ?? []);
  }

  function showStrips(box, entry, maps) {
    box.replaceChildren();
    for (const each of maps) {
      const heading = document.createElement("p");
      heading.textContent = `map ${each.map}: activations ${each.values.at(0)} to ${each.values.at(-1)}`;
      box.append(heading);
      for (const what of ["projections", "patches"]) {
        const image = document.createElement("img");
        image.alt = `${what} of the ${each.images.length} strongest activations of map ${each.map}: ${each.images.join(", ")}`;
        setImage(image, entry.sprites[`map-${each.map}-${what}`]);
        box.append(image);
      }
    }
  }

  function thumbnail(probe) {
    return page.runs.map((run) => run.pictures.probes[probe.place]).find(Boolean);
  }

  function showProbe() {
    const probe = page.probes[state.p];
    if (!probe) return;
    setImage($("image"), thumbnail(probe));
    const guesses = (probe.predicted ?? []).map(([name, share]) => `${name} ${(100 * share).toFixed(1)} %`);
    $("image-words").textContent = [
      probe.name + (probe.part ? ` (${probe.part})` : ""),
      probe.class && `class ${probe.class}`,
      ...(guesses.length ? ["most probable:", ...guesses] : []),
    ].filter(Boolean).join("\n");
  }

  // --- the epoch ---

  function figures() {
    const shares = page.runs.map((run) => {
      const value = run.accuracy[state.e];
      return value === undefined ? `${run.label} has no epoch ${state.e}` : `${run.label} ${(100 * value).toFixed(1)} %`;
    });
    const best = page.runs.filter((run) => run.best === state.e).map((run) => `best of ${run.label}`);
    return `epoch ${state.e} of ${page.epochs}: ${[...shares, ...best].join(", ")}`;
  }

  function show() {
    $("epoch").value = state.e;
    $("epoch").setAttribute("aria-valuetext", figures());
    $("now").textContent = figures();
    const probe = document.querySelector(`input[name=probe][value="${state.p}"]`);
    if (probe) probe.checked = true;
    $("layer").value = state.l;
    showProbe();
    for (const cell of document.querySelectorAll(".cell[data-run]")) showCell(cell);
    for (const view of views.values()) mark(view);
    showDialog();
    history.replaceState(null, "", linkTo(state.e));
  }

  function goTo(epoch) {
    state.e = Math.min(page.epochs, Math.max(1, epoch));
    show();
  }

  function play() {
    const stop = playing;
    clearInterval(playing);
    playing = stop ? 0 : setInterval(() => goTo(state.e < page.epochs ? state.e + 1 : 1), 600);
    $("play").textContent = playing ? "Pause" : "Play";
  }

  // --- one map, large ---

  function showDialog() {
    const dialog = $("map");
    if (!state.u) {
      if (dialog.open) dialog.close();
      return;
    }
    const run = page.runs[state.r];
    const index = run.pictures.units[state.l].indexOf(state.u);
    const entry = entryOf(state.r, "deconvolution", state.l);
    $("map-title").textContent = `${run.label}: map ${state.u} of ${state.l}, ${page.probes[state.p].name}, epoch ${state.e}`;
    if (entry) $("map-note").textContent = entry.note + (entry.silent.includes(state.u) ? ". This map is silent here." : "");
    else sayAbsent($("map-note"), state.r, "deconvolution", state.l);
    $("map-range").textContent = entry ? rangeWords(entry.ranges) : "";
    $("map-tile").style.backgroundImage = "none";
    if (entry) setTile($("map-tile"), entry, index);
    setImage($("map-projection"), entry?.sprites.projection);
    showHistory(run.pictures.deconvolution[place("deconvolution", state.l)] ?? {}, index);
    const top = entryOf(state.r, "top_activations", state.l);
    const maps = top?.maps.filter((each) => each.map === state.u) ?? [];
    showStrips($("map-patches"), top, maps);
    if (!top) sayAbsent($("map-patches"), state.r, "top_activations", state.l);
    else if (!maps.length) $("map-patches").textContent = "The run kept none of this map; viz.top_maps says of how many maps it does.";
    if (!dialog.open) dialog.showModal();
  }

  function showHistory(entries, index) {
    const focused = document.activeElement.dataset.epoch; // its tile is made anew
    $("map-history").replaceChildren();
    for (const [epoch, past] of Object.entries(entries)) {
      const [label, tile] = [document.createElement("label"), document.createElement("button")];
      tile.type = "button";
      tile.className = "tile";
      tile.dataset.epoch = epoch;
      tile.setAttribute("aria-label", `epoch ${epoch}`);
      if (Number(epoch) === state.e) tile.setAttribute("aria-current", "true");
      setTile(tile, past, index);
      tile.addEventListener("click", () => goTo(Number(epoch)));
      label.append(tile, epoch);
      $("map-history").append(label);
      if (epoch === focused) tile.focus();
    }
  }

  function otherMap(step) {
    const units = page.runs[state.r].pictures.units[state.l];
    state.u = units[(units.indexOf(state.u) + step + units.length) % units.length];
    show();
  }

  // --- charts: drawn when they come into view ---

  const dark = matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    const text = dark.matches ? "#ddd" : "#222";
    const lines = dark.matches ? "#444" : "#ddd";
    const words = { labelColor: text, titleColor: text, gridColor: lines, domainColor: lines, tickColor: lines };
    return { background: "transparent", axis: words, legend: { ...words, orient: "bottom", columns: 3, layout: { bottom: { anchor: "start", direction: "vertical" } } }, title: { color: text }, text: { color: text }, view: { stroke: lines } };
  }

  async function draw(figure) {
    const spec = specs[figure.dataset.chart];
    const options = { actions: false, renderer: "svg", config: theme() };
    const { view } = await window.vegaEmbed(figure, spec, options);
    views.set(figure, view);
    mark(view);
  }

  function setSignal(view, name, value) {
    try {
      view.signal(name, value).runAsync();
    } catch {
      // a chart without it: one that is not over the epochs, or not of a sweep
    }
  }

  function mark(view) {
    setSignal(view, "epoch", state.e);
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !views.has(target)) draw(target);
    }
  }, { rootMargin: "200px" });

  // --- tables: a click on a column's name sorts by it ---

  function makeSortable(table) {
    const heads = [...table.querySelectorAll("th")];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = (row) => row.cells[column].textContent.trim();
        const compare = (a, b) => {
          if (!text(a) || !text(b)) return text(b) ? 1 : text(a) ? -1 : 0; // what is missing stays below
          const [x, y] = [text(a), text(b)].map(Number.parseFloat);
          const order = Number.isNaN(x) || Number.isNaN(y) ? text(a).localeCompare(text(b)) : x - y;
          return down ? -order : order;
        };
        table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
      });
    });
  }

  // The row of a sweep's table that is pointed at, or has the focus, lights up its curves.
  function lightUp(event) {
    const trial = Number(event.target.closest("tr")?.dataset.trial ?? -1);
    for (const view of views.values()) setSignal(view, "trial", trial);
  }

  // --- what people do ---

  function listen() {
    $("epoch").addEventListener("input", () => goTo(Number($("epoch").value)));
    $("previous").addEventListener("click", () => goTo(state.e - 1));
    $("next").addEventListener("click", () => goTo(state.e + 1));
    $("play").addEventListener("click", play);
    $("layer").addEventListener("change", () => { state.l = $("layer").value; show(); });
    for (const choice of document.querySelectorAll("input[name=probe]")) {
      choice.addEventListener("change", () => { state.p = Number(choice.value); show(); });
    }
    for (const tile of document.querySelectorAll(".cell button.tile")) {
      const cell = tile.closest(".cell");
      tile.addEventListener("click", () => {
        Object.assign(state, { r: Number(cell.dataset.run), l: cell.dataset.layer, u: Number(tile.dataset.unit) });
        show();
      });
    }
    $("map").addEventListener("close", () => { state.u = 0; show(); });
    $("map-close").addEventListener("click", () => $("map").close());
    $("map-previous").addEventListener("click", () => otherMap(-1));
    $("map-next").addEventListener("click", () => otherMap(1));
    document.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      // Sliders, choices and tables that scroll have arrows of their own.
      if (!step || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .scroll")) return;
      event.preventDefault();
      if (state.u) otherMap(step);
      else goTo(state.e + step);
    });
    window.addEventListener("hashchange", followLink);
    if ($("reload")) setInterval(() => { if ($("reload").checked && !$("map").open && !playing) location.reload(); }, 60000);
  }

  function listenToTheme() {
    dark.addEventListener("change", () => { for (const figure of views.keys()) draw(figure); });
    window.addEventListener("beforeprint", () => {
      for (const details of document.querySelectorAll("details")) details.open = true;
      for (const figure of document.querySelectorAll(".chart")) if (!views.has(figure)) draw(figure);
    });
  }

  document.addEventListener("DOMContentLoaded", () => { // the pictures come after this script
    page.probes.forEach((probe, number) => {
      const image = document.querySelector(`[data-thumb="${number}"]`);
      setImage(image, thumbnail(probe));
    });
    for (const image of document.querySelectorAll("img[data-source]")) setImage(image, image.dataset.source);
    for (const figure of document.querySelectorAll(".chart")) watcher.observe(figure);
    for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
    for (const kind of ["pointerover", "focusin"]) $("trials")?.addEventListener(kind, lightUp);
    listenToTheme();
    if (!page.runs.length) return; // a sweep's page has no epochs to step through
    listen();
    followLink();
  });
}
