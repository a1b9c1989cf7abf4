// The collection, page by page: any image of it can be the query.

import { byId, html, name } from "./dom.js";
import { fileName } from "./words.js";

export const IMAGES = 48;

export class Browse {
  // chosen(entry): an image was clicked.
  constructor({ thumbnails, chosen }) {
    Object.assign(this, { thumbnails, chosen });
    this.list = byId("browse");
  }

  show(index, entries) {
    this.clear();
    this.list.replaceChildren(...entries.map((entry) => html("li", {}, this.button(index, entry))));
  }

  clear() {
    this.thumbnails.clear();
    this.list.replaceChildren();
  }

  button(index, entry) {
    const frame = html("span", { class: "thumbnail" });
    this.thumbnails.address(index, entry.id).then((address) => {
      if (address) frame.append(html("img", { src: address, alt: "", draggable: "false" }));
      else frame.append(html("span", { class: "faint" }, "no image"));
    });
    return html("button", { type: "button", title: entry.path, "data-id": entry.id, onclick: () => this.chosen(entry) },
      frame, html("span", { class: "entry" }, name(fileName(entry.path)), entry.label === null ? null : html("span", { class: "faint" }, name(entry.label))));
  }
}
