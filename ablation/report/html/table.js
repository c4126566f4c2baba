"use strict";
(() => {
  const number = (key) => (key !== "" && !Number.isNaN(Number(key)) ? Number(key) : null);

  // Sorting: a button in the head of each column; the baseline stays first, rows without a value last.
  for (const table of document.querySelectorAll("table.comparison")) {
    const body = table.tBodies[0];
    const original = [...body.rows].slice(1);
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.dataset.title = head.firstChild.textContent;
      head.firstChild.replaceWith(button);
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort];
        heads.forEach((other) => (other.ariaSort = "none"));
        head.ariaSort = next;
        const sign = next === "descending" ? -1 : 1;
        const key = ({ cells: { [column]: cell } }) => cell.dataset.key ?? cell.querySelector(".level")?.textContent ?? cell.textContent;
        const compare = (one, other) => {
          const [a, b] = [key(one), key(other)];
          if (a === "" || b === "") return (a === "") - (b === "");
          const [x, y] = [number(a), number(b)];
          return sign * (x !== null && y !== null ? x - y : a.localeCompare(b, undefined, { numeric: true }));
        };
        body.append(...(next === "none" ? original : [...original].sort(compare)));
      });
    });
  }

  // Choosing rows, in every table and in the figures.
  const form = document.querySelector("form.choose");
  if (!form) return;
  form.hidden = false;
  const rows = [...document.querySelectorAll("#table .comparison tbody tr")];
  const [main] = document.querySelectorAll("#table .comparison");
  const wanted = (row, words, verdict, levels) => {
    if (row.classList.contains("baseline")) return true;
    const text = row.dataset.cell.toLowerCase();
    const own = JSON.parse(row.dataset.levels);
    return (
      words.every((word) => text.includes(word)) &&
      (!verdict || row.dataset.verdict === verdict) &&
      levels.every((level, index) => !level || own[index] === level)
    );
  };
  const choose = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = form.elements.verdict?.value;
    const levels = [...form.querySelectorAll("[name=factor]")].map((factor) => factor.value);
    const all = [...main.tBodies[0].rows];
    const shown = new Set(all.filter((row) => wanted(row, words, verdict, levels)).map((row) => row.dataset.cell));
    for (const row of rows) row.hidden = !shown.has(row.dataset.cell);
    const every = shown.size === all.length;
    form.querySelector("output").value = every ? "" : `${shown.size} of ${all.length} cells, in the figures too`;
    document.dispatchEvent(new CustomEvent("choose", { detail: every ? null : shown }));
  };
  form.addEventListener("input", choose);
  form.addEventListener("reset", () => setTimeout(choose));
  form.addEventListener("submit", (event) => event.preventDefault());
})();
