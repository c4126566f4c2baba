"use strict";
(() => {
  const maps = JSON.parse(document.getElementById("weights").textContent);
  const overview = document.getElementById("overview");
  if (!overview) return;
  const at = (id) => document.getElementById(id);
  const cellBox = at("cell"), seedBox = at("seed"), exampleBox = at("example");
  const AVERAGE = "average";
  let layers = [], layer = 0, head = 0, query = null;

  // Weights of one sublayer as numbers from -1 to 1, head after head, row after row.
  function unpacked(part) {
    const bytes = Uint8Array.from(atob(part.weights), (letter) => letter.charCodeAt(0));
    const weights = Float32Array.from(bytes, (byte) => (part.signed ? (2 * byte - 255) / 255 : byte / 255));
    return { ...part, weights };
  }

  // The mean over examples, as far as their maps have the same shape; tokens are named by their place.
  function averaged(examples) {
    return examples[0].map((part, index) => {
      const alike = examples.map((example) => example[index])
        .filter((other) => other.queries.length === part.queries.length && other.keys.length === part.keys.length)
        .map(unpacked);
      const weights = new Float32Array(alike[0].weights.length);
      for (const other of alike) other.weights.forEach((weight, place) => { weights[place] += weight / alike.length; });
      const places = (tokens) => tokens.map((_, place) => String(place));
      return { ...part, weights, queries: places(part.queries), keys: places(part.keys) };
    });
  }

  function fill(box, names, values) {
    const before = box.value;
    box.replaceChildren(...names.map((name, index) => new Option(name, values ? values[index] : String(index))));
    if ([...box.options].some((option) => option.value === before)) box.value = before;
  }

  function color(weight) {
    const strength = Math.sqrt(Math.min(1, Math.abs(weight)));
    return `rgb(${weight < 0 ? "199 67 43" : "40 120 181"} / ${strength.toFixed(3)})`;
  }

  function paint(canvas, part, which, scale) {
    const rows = part.queries.length, columns = part.keys.length;
    canvas.width = columns * scale;
    canvas.height = rows * scale;
    const context = canvas.getContext("2d");
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const weight = part.weights[(which * rows + row) * columns + column];
        if (!weight) continue;
        context.fillStyle = color(weight);
        context.fillRect(column * scale, row * scale, scale, scale);
      }
    }
  }

  function chooseExample() {
    const seed = maps[cellBox.value].seeds[seedBox.value];
    const chosen = exampleBox.value;
    layers = chosen === AVERAGE ? averaged(seed.examples) : (seed.examples[chosen] ?? []).map(unpacked);
    layer = Math.min(layer, Math.max(0, layers.length - 1));
    overview.replaceChildren(...layers.map((part, index) => {
      const box = document.createElement("div");
      const title = document.createElement("div");
      title.className = "layer";
      title.textContent = part.name;
      const row = document.createElement("div");
      row.className = "thumbnails";
      for (let which = 0; which < part.heads; which++) {
        const button = document.createElement("button");
        const canvas = document.createElement("canvas");
        paint(canvas, part, which, 2);
        button.append(canvas, `head ${which}`);
        button.addEventListener("click", () => { layer = index; head = which; query = null; show(); });
        button.dataset.place = `${index}.${which}`;
        row.append(button);
      }
      box.append(title, row);
      return box;
    }));
    show();
  }

  function chooseSeed() {
    const seed = maps[cellBox.value].seeds[seedBox.value];
    const names = seed.examples.map((_, index) => String(index));
    const several = seed.examples.length > 1 ? [AVERAGE] : [];
    fill(exampleBox, [...names.map((name) => `${Number(name) + 1}`), ...several.map(() => "average of all")],
      [...names, ...several]);
    chooseExample();
  }

  function chooseCell() {
    const seeds = maps[cellBox.value].seeds;
    fill(seedBox, seeds.map((seed) => String(seed.seed)));
    chooseSeed();
  }

  function show() {
    const part = layers[layer];
    if (!part) return;
    head = Math.min(head, part.heads - 1);
    for (const button of overview.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.place === `${layer}.${head}`));
    }
    at("chosen").textContent = `${part.name}, head ${head}`;
    paint(at("map"), part, head, Math.max(1, Math.ceil(460 / Math.max(part.queries.length, part.keys.length))));
    const same = part.queries.length === part.keys.length && part.queries.every((token, i) => token === part.keys[i]);
    const tokens = (list, kind) => list.map((token, index) => {
      const span = document.createElement("span");
      span.textContent = token;
      span.dataset[kind] = String(index);
      return span;
    });
    const shown = [...tokens(part.queries, "query")];
    if (same) shown.forEach((span, index) => { span.dataset.key = String(index); });
    else shown.push(Object.assign(document.createElement("span"), { textContent: "\u2192" }), ...tokens(part.keys, "key"));
    at("tokens").replaceChildren(...shown);
    shade(query ?? part.queries.length - 1);
  }

  function shade(row, column) {
    const part = layers[layer];
    query = Math.max(0, Math.min(row, part.queries.length - 1));
    const start = (head * part.queries.length + query) * part.keys.length;
    for (const span of at("tokens").children) {
      span.classList.toggle("query", span.dataset.query === String(query));
      if (span.dataset.key !== undefined) span.style.background = color(part.weights[start + Number(span.dataset.key)]);
    }
    const weights = [...part.weights.subarray(start, start + part.keys.length)];
    const best = weights.map((weight, key) => [weight, key]).sort((one, other) => other[0] - one[0]).slice(0, 4);
    const named = ([weight, key]) => `${part.keys[key]} (${key}): ${weight.toFixed(2)}`;
    const pointed = column === undefined ? "" : `; here ${named([weights[column], column])}`;
    at("readout").textContent = `query ${part.queries[query]} (${query}) takes most from ${best.map(named).join(", ")}${pointed}`;
  }

  at("map").addEventListener("mousemove", (event) => {
    const part = layers[layer], box = event.target.getBoundingClientRect();
    if (!part) return;
    const column = Math.floor((event.clientX - box.left) / box.width * part.keys.length);
    shade(Math.floor((event.clientY - box.top) / box.height * part.queries.length),
      Math.max(0, Math.min(column, part.keys.length - 1)));
  });
  at("tokens").addEventListener("mouseover", (event) => {
    if (event.target.dataset.query !== undefined) shade(Number(event.target.dataset.query));
  });
  cellBox.addEventListener("change", chooseCell);
  seedBox.addEventListener("change", chooseSeed);
  exampleBox.addEventListener("change", chooseExample);
  fill(cellBox, maps.map((cell) => cell.cell));
  chooseCell();
})();
