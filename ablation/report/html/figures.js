"use strict";
(async () => {
  async function expanded(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // The policy of this page allows exactly this text by its hash.
  const script = document.createElement("script");
  script.textContent = await expanded("library");
  document.head.append(script);
  const { figures, themes, ink } = JSON.parse(await expanded("data"));
  const all = [...document.querySelectorAll("[data-figure]")];
  let chosen = null; // the cells that the table shows; null: all of them
  const MOST = 0.4; // of a figure's width are the most that names beside it take
  const FAINT = "#8b8f98"; // of lines without a name
  const LINE = 13; // pixels between names
  const FIELDS = { x: ["x", "cost", "delta"], y: ["mean"] };

  function view(figure) {
    return figures[figure.dataset.figure][Number(figure.querySelector("input:checked")?.value ?? 0)];
  }

  function specification(figure, width) {
    const spec = structuredClone(view(figure).spec);
    const choose = chosen && "ofCells" in figure.dataset;
    for (const [name, rows] of Object.entries(choose ? spec.datasets : {})) {
      spec.datasets[name] = rows.filter((row) => !("cell" in row) || chosen.has(row.cell));
    }
    if (choose && spec.usermeta?.row) {
      const order = spec.usermeta.order.filter((cell) => chosen.has(cell));
      spec.height = spec.usermeta.row * Math.max(order.length, 3);
      for (const layer of spec.layer) if (layer.encoding?.y?.scale?.domain) layer.encoding.y.scale.domain = order;
    }
    if (choose && spec.usermeta?.lines) name(spec, spec.usermeta.lines);
    const names = spec.params?.find((param) => param.name === "label_width");
    if (names) names.value = Math.min(names.value, MOST * width);
    return spec;
  }

  // Of a choice of few lines all have names and colors; of all lines, only those at both ends have them.
  function name(spec, { ends, domain, logarithmic, colors, most }) {
    const lines = ends.filter(({ cell }) => chosen.has(cell)).sort((one, other) => other.mean - one.mean);
    if (!lines.length || lines.length > most) return;
    const cells = lines.map(({ cell }) => cell);
    spec.layer = spec.layer.filter(({ transform }) => !transform?.some(({ filter }) => filter.not)); // without names
    for (const { encoding, transform } of spec.layer) {
      for (const { filter } of transform ?? []) if (filter.oneOf) filter.oneOf = cells;
      const scale = encoding?.color?.scale;
      const free = colors.filter((color) => !scale || !cells.some((c) => scale.range[scale.domain.indexOf(c)] === color));
      if (scale) scale.range = scale.range.map((color, index) =>
        color === FAINT && cells.includes(scale.domain[index]) ? free.shift() ?? color : color);
    }
    const [to, from] = logarithmic ? [Math.log, Math.exp] : [Number, Number];
    const [low, high] = domain.map(to);
    const pixels = lines.map(({ mean }) =>
      Math.min(Math.max(spec.height * (high - to(mean)) / (high - low), 0), spec.height));
    const places = apart(pixels, spec.height);
    const at = endsOf(spec);
    if (at) spec.datasets[at] = lines.map((line, index) => (
      { ...line, at: from(high - places[index] * (high - low) / spec.height) }));
  }

  // Pixels from top to bottom, moved down, and up again where there is no more room, so that names do not overlap.
  function apart(pixels, height) {
    const places = [];
    for (const pixel of pixels) places.push(Math.max(pixel, (places.at(-1) ?? -LINE) + LINE));
    const beyond = Math.max(0, places.at(-1) - height);
    return places.map((place) => place - beyond);
  }

  // The data with the ends of lines, at which their names are.
  function endsOf(spec) {
    return Object.keys(spec.datasets).find((key) => spec.datasets[key][0] && "at" in spec.datasets[key][0]) ?? "";
  }

  // While a figure is zoomed the name of a line is where it leaves the figure, or at the last point that can be seen.
  function nameWhatIsSeen(vega, spec, isZoomed) {
    const at = endsOf(spec);
    if (!isZoomed) {
      vega.data(at, structuredClone(spec.datasets[at])).run(); // without the keys that Vega gave them
      return;
    }
    const y = vega.scale("y");
    const points = Object.values(spec.datasets).flat().filter((row) => "mean" in row && !("at" in row));
    const lines = [];
    for (const end of spec.datasets[at]) {
      const last = lastSeen(points.filter(({ cell }) => cell === end.cell), vega.scale("x"), y);
      if (last) lines.push({ ...structuredClone(end), ...last });
    }
    lines.sort((one, other) => other.mean - one.mean);
    const places = apart(lines.map(({ mean }) => y(mean)), spec.height);
    vega.data(at, lines.map((line, index) => ({ ...line, at: y.invert(places[index]) }))).run();
  }

  function lastSeen(line, x, y) {
    const [low, high] = y.domain();
    const seen = ({ mean }) => mean >= low && mean <= high;
    if (!x.invert) return lastOf(line.filter(seen)); // x is no number, and all of it is seen
    const [left, right] = x.domain();
    const next = line.findIndex((point) => point.x > right);
    if (next > 0) {
      const [before, after] = [line[next - 1], line[next]];
      const part = (x(right) - x(before.x)) / (x(after.x) - x(before.x));
      const edge = { x: right, mean: y.invert(y(before.mean) + part * (y(after.mean) - y(before.mean))) };
      if (seen(edge)) return edge;
    }
    return lastOf(line.filter((point) => point.x >= left && point.x <= right && seen(point)));
  }

  function lastOf(line) {
    const last = line.at(-1);
    return last && { x: last.x, mean: last.mean };
  }

  async function embed(place, spec, theme) {
    const result = await vegaEmbed(place, spec, {
      mode: "vega-lite",
      renderer: "svg",
      config: theme,
      ast: true, // no eval, which the policy of this page forbids
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
      actions: false,
    });
    return result.view;
  }

  async function draw(figure) {
    const place = figure.querySelector(".plot");
    figure.view?.finalize();
    const spec = specification(figure, place.clientWidth);
    figure.view = await embed(place, spec, themes.page);
    const zoomable = Object.keys(zoomed(figure.view)).length > 0;
    for (const name of ["in", "out", "reset"]) figure.querySelector(`[data-do=${name}]`).hidden = !zoomable;
    if (spec.usermeta?.lines && endsOf(spec)) {
      const ofAxes = Object.values(FIELDS).flat().map((field) => `zoom_${field}`);
      const signals = Object.keys(zoomed(figure.view)).filter((signal) => ofAxes.includes(signal));
      const rename = (vega) => nameWhatIsSeen(vega, spec, signals.some((signal) => vega.signal(signal)));
      for (const signal of signals) figure.view.addSignalListener(signal, () => figure.view.runAfter(rename));
    }
    const svg = place.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", [figure.querySelector("h3").textContent, figure.querySelector("input:checked + span")?.textContent].filter(Boolean).join(", "));
  }

  function zoomed(vega) {
    return vega.getState({ signals: (name) => name.startsWith("zoom_"), data: () => false }).signals;
  }

  // Zooming by buttons does what dragging and the wheel do: it sets the ends of the axes.
  function zoom(figure, factor) {
    const vega = figure.view;
    const signals = zoomed(vega);
    for (const axis of ["x", "y"]) {
      const field = FIELDS[axis].find((each) => `zoom_${each}` in signals);
      if (!field) continue;
      const scale = vega.scale(axis);
      const [low, high] = scale.range();
      const middle = (low + high) / 2;
      const ends = [middle + (low - middle) * factor, middle + (high - middle) * factor];
      vega.signal(`zoom_${field}`, factor ? ends.map((end) => scale.invert(end)) : null);
    }
    vega.run();
  }

  async function save(figure, kind) {
    const place = document.createElement("div");
    const spec = { ...specification(figure, 640), width: 640 };
    const vega = await embed(place, JSON.parse(JSON.stringify(spec).replaceAll(`"${ink.page}"`, `"${ink.print}"`)), themes.print);
    const link = document.createElement("a");
    link.href = kind === "svg"
      ? URL.createObjectURL(new Blob([await vega.toSVG()], { type: "image/svg+xml" }))
      : await vega.toImageURL("png", 2);
    link.download = `${view(figure).file}.${kind}`;
    link.click();
    vega.finalize();
  }

  function print(figure) {
    document.documentElement.classList.add("one");
    figure.classList.add("printed");
    window.print();
    figure.classList.remove("printed");
    document.documentElement.classList.remove("one");
  }

  const actions = {
    in: (figure) => zoom(figure, 0.6),
    out: (figure) => zoom(figure, 1 / 0.6),
    reset: (figure) => zoom(figure, 0),
    svg: (figure) => save(figure, "svg"),
    png: (figure) => save(figure, "png"),
    pdf: print,
  };

  for (const figure of all) {
    figure.addEventListener("change", (event) => event.target.matches("input[type=radio]") && draw(figure));
    figure.addEventListener("click", (event) => event.target.matches("[data-do]") && actions[event.target.dataset.do](figure));
    figure.querySelector(".actions").hidden = false;
  }
  document.addEventListener("choose", (event) => {
    chosen = event.detail;
    for (const figure of all) if ("ofCells" in figure.dataset) draw(figure);
  });
  await Promise.all(all.map(draw));
  document.documentElement.dataset.figures = String(all.length);
})();
