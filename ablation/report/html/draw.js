"use strict";
(() => {
  const { figures, themes } = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawings = [];

  async function draw(figure) {
    const place = figure.querySelector(".plot");
    const chosen = figure.querySelector("input:checked");
    const spec = figures[figure.dataset.figure][chosen ? Number(chosen.value) : 0];
    figure.view?.finalize();
    const drawn = await vegaEmbed(place, structuredClone(spec), {
      mode: "vega-lite",
      renderer: "svg",
      config: dark.matches ? themes.dark : themes.light,
      ast: true, // no eval, which the policy of this page forbids
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      downloadFileName: figure.dataset.figure,
    });
    figure.view = drawn.view;
  }

  const all = [...document.querySelectorAll("[data-figure]")];
  for (const figure of all) {
    figure.addEventListener("change", (event) => event.target.matches("input[type=radio]") && draw(figure));
    drawings.push(draw(figure));
  }
  dark.addEventListener("change", () => all.forEach(draw));
  Promise.all(drawings).then(() => { document.documentElement.dataset.drawn = String(all.length); });
})();
