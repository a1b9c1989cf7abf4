// The filter: a menu of values for each column of the index, and a condition in SQL for the rest.

import { byId, html, name } from "./dom.js";

// Menus with more values have a field to find one.
const MANY = 12;

export class Filters {
  // changed({chosen, where}): other hits are asked for.
  constructor({ changed }) {
    Object.assign(this, { changed, columns: [], chosen: [], where: "" });
    byId("sql-form").addEventListener("submit", (event) => { event.preventDefault(); this.changed({ chosen: this.chosen, where: byId("where").value.trim() }); });
    byId("clear-filter").addEventListener("click", () => { this.changed({ chosen: [], where: "" }); byId("filter").querySelector("summary").focus(); });
    // On a narrow screen the hits come first.
    byId("filter").open = matchMedia("(min-width: 56em)").matches;
    document.addEventListener("pointerdown", (event) => {
      for (const menu of byId("menus").querySelectorAll("details[open]")) if (!menu.contains(event.target)) menu.open = false;
    });
  }

  setColumns(columns) {
    this.columns = columns.filter((column) => column.distinct);
    byId("menus").replaceChildren(...this.columns.map((column) => this.menu(column)));
    this.show(this);
  }

  // The menus and the field show what is asked for.
  show({ chosen, where }) {
    Object.assign(this, { chosen, where });
    if (document.activeElement !== byId("where")) byId("where").value = where;
    if (where) byId("sql").open = true;
    byId("clear-filter").hidden = !chosen.length && !where;
    for (const menu of byId("menus").children) {
      const values = chosen.filter(([column]) => column === menu.dataset.column).map(([, value]) => value);
      const state = menu.querySelector(".state");
      state.replaceChildren(values.length === 1 ? name(values[0]) : values.length ? `${values.length} values` : "any");
      menu.classList.toggle("active", values.length > 0);
      for (const box of menu.querySelectorAll("input[type=checkbox]")) box.checked = values.includes(box.value);
    }
  }

  menu(column) {
    const items = column.values.map(({ value, count }) => html("li", {}, html("label", {},
      html("input", { type: "checkbox", value, onchange: () => this.toggle(column.name, value) }), " ", name(value), " ", html("span", { class: "faint" }, count))));
    const find = column.values.length > MANY && html("input", {
      type: "search", "aria-label": `Find a value of ${column.name}`, placeholder: "Find a value",
      oninput: (event) => {
        const text = event.target.value.toLowerCase();
        items.forEach((item, k) => { item.hidden = !column.values[k].value.toLowerCase().includes(text); });
      },
    });
    const omitted = column.distinct - column.values.length;
    const menu = html("details", {
      class: "menu", "data-column": column.name,
      onkeydown: (event) => {
        if (event.key !== "Escape" || !menu.open) return;
        event.preventDefault();
        menu.open = false;
        menu.querySelector("summary").focus();
      },
    },
    html("summary", {}, name(column.name), ": ", html("span", { class: "state" }, "any")),
    html("div", { class: "values" }, find, html("ul", {}, items),
      omitted > 0 && html("p", { class: "faint" }, `${omitted.toLocaleString("en")} rarer values are not listed; use SQL for them.`)));
    return menu;
  }

  toggle(column, value) {
    const is = ([c, v]) => c === column && v === value;
    const chosen = this.chosen.some(is) ? this.chosen.filter((pair) => !is(pair)) : [...this.chosen, [column, value]];
    this.changed({ chosen, where: this.where });
  }
}
