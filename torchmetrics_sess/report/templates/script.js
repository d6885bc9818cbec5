"use strict";

// Without scripts the page is complete; what only works with them is hidden until now.
for (const control of document.querySelectorAll("button[hidden], form[hidden]")) control.hidden = false;

document.querySelector("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // The clipboard is out of reach; the text is selected at least.
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

const table = document.querySelector("#table");
if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  const number = (text) => parseFloat(text.replace("∞", "Infinity"));
  const compareNumbers = (a, b) => (a === b ? 0 : a - b);
  const names = new Intl.Collator(undefined, { numeric: true });

  function sort(heading) {
    const column = headings.indexOf(heading);
    const descending = heading.ariaSort === "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.ariaSort = descending ? "descending" : "ascending";
    const numeric = heading.dataset.kind === "number";
    const keyed = rows.map((row) => {
      const text = row.cells[column].textContent;
      return { row, key: numeric ? number(text) : text };
    });
    const compare = numeric ? compareNumbers : names.compare;
    keyed.sort((a, b) => {
      // What has no value stays at the end.
      if (Number.isNaN(a.key) || Number.isNaN(b.key)) return Number.isNaN(a.key) - Number.isNaN(b.key);
      return descending ? compare(b.key, a.key) : compare(a.key, b.key);
    });
    body.append(...keyed.map(({ row }) => row));
  }

  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(heading));
    heading.replaceChildren(button);
  }

  const name = document.querySelector("#filter-name");
  const folder = document.querySelector("#filter-folder");
  const shown = document.querySelector("#shown");

  function filter() {
    const part = name.value.toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(part)
        || Boolean(folder?.value && row.cells[1].textContent !== folder.value);
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  }

  name.addEventListener("input", filter);
  folder?.addEventListener("change", filter);
  name.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
