// Hits that people marked as right or wrong, kept until the tab is closed, and exported as a table.

import { byId, save } from "./dom.js";
import { csv } from "./csv.js";
import { count } from "./words.js";

const KEY = "diml-verdicts";
const HEADER = ["index", "query", "regions", "filter", "rank", "id", "path", "label", "similarity", "verdict"];

export class Verdicts {
  // cleared(): the buttons must be drawn again.
  constructor({ cleared }) {
    this.rows = new Map(JSON.parse(sessionStorage.getItem(KEY) || "[]"));
    byId("export").addEventListener("click", () => save(csv([HEADER, ...this.rows.values()]), "diml-marks.csv"));
    byId("clear-verdicts").addEventListener("click", () => { this.rows.clear(); this.kept(); cleared(); byId("results-title").focus(); });
    this.kept();
  }

  // asked: {index, query, regions, filter} as texts.
  static key(asked, hit) {
    return JSON.stringify([asked.index, asked.query, asked.regions, hit.id]);
  }

  of(asked, hit) {
    const row = this.rows.get(Verdicts.key(asked, hit));
    return row ? row.at(-1) === "right" : null;
  }

  // verdict: true, false, or null for no mark.
  set(asked, hit, verdict) {
    const key = Verdicts.key(asked, hit);
    if (verdict === null) this.rows.delete(key);
    else this.rows.set(key, [asked.index, asked.query, asked.regions, asked.filter, hit.rank, hit.id, hit.path, hit.label, hit.similarity, verdict ? "right" : "wrong"]);
    this.kept();
  }

  kept() {
    const rows = [...this.rows.values()], right = rows.filter((row) => row.at(-1) === "right").length;
    sessionStorage.setItem(KEY, JSON.stringify([...this.rows]));
    byId("verdicts").hidden = !rows.length;
    byId("verdicts-count").textContent = `${count(right, "hit")} right, ${rows.length - right} wrong.`;
  }
}
