// Which page of the hits, or of the collection, is shown.

import { byId, html } from "./dom.js";
import { PER_PAGE } from "./view.js";

export class Pager {
  // turned(page), sized(k).
  constructor({ turned, sized }) {
    byId("per-page").append(...PER_PAGE.map((k) => html("option", { value: k }, k)));
    byId("per-page").addEventListener("change", (event) => sized(Number(event.target.value)));
    byId("previous").addEventListener("click", () => turned(this.page - 1));
    byId("next").addEventListener("click", () => turned(this.page + 1));
  }

  // text: what is shown; k: null where the number per page is fixed.
  show({ page, more, text, k }) {
    this.page = page;
    byId("pager").hidden = page === 1 && !more && k === null;
    byId("page-number").textContent = text;
    byId("previous").disabled = page <= 1;
    byId("next").disabled = !more;
    byId("per-page").parentElement.hidden = k === null;
    if (k) byId("per-page").value = k;
  }

  hide() {
    byId("pager").hidden = true;
  }
}
