"use strict";
(() => {
  const box = document.getElementById("filter");
  const found = document.getElementById("found");
  const items = [...document.querySelectorAll("[data-text]")].map((node) => [node, node.dataset.text.toLowerCase()]);
  const rows = [...document.querySelectorAll("table.types tr[data-type]")];
  const groups = [...document.querySelectorAll("details.group")];

  // A type stays as long as one of its differences does.
  function filter() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const types = new Set();
    let differences = 0;
    for (const [node, text] of items) {
      node.hidden = !words.every((word) => text.includes(word));
      if (!node.hidden && node.matches("details.group")) {
        differences += 1;
        types.add(node.dataset.type);
      }
    }
    for (const row of rows) {
      if (words.length && types.has(row.dataset.type)) row.hidden = false;
      if (!row.hidden) types.add(row.dataset.type);
    }
    if (words.length) for (const node of document.querySelectorAll("[data-opens]")) node.open = true;
    found.textContent = words.length ? `Workflow types that fit: ${types.size}. Differences: ${differences}.` : "";
  }

  box.addEventListener("input", filter);
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "Escape" && event.target === box) {
      box.value = "";
      filter();
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-filter]");
    if (link) {
      box.value = link.dataset.filter;
      filter();
      const first = groups.find((group) => !group.hidden);
      if (first) first.open = true;
    }
    const all = event.target.closest("[data-all]");
    if (all) for (const group of groups) group.open = all.dataset.all === "open";
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = copy.previousElementSibling.textContent;
      const done = () => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); };
      const select = () => getSelection().selectAllChildren(copy.previousElementSibling);
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select); else select();
    }
  });
  function toTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.matches("details")) {
      const outer = target.parentElement.closest("details");
      if (outer) outer.open = true;
      target.hidden = false;
      target.open = true; target.scrollIntoView();
    }
  }
  addEventListener("hashchange", toTarget);
  toTarget();
  let folded = [];
  addEventListener("beforeprint", () => { folded = groups.filter((group) => !group.open).slice(0, 40); for (const group of folded) group.open = true; });
  addEventListener("afterprint", () => { for (const group of folded) group.open = false; });
})();
