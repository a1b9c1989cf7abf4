// What is going on, and what to do where something failed.

import { byId } from "./dom.js";

// After so many milliseconds people wonder.
const LONG = 3000;

export class Status {
  constructor() {
    this.again = null;
    byId("again").addEventListener("click", () => this.again?.());
    addEventListener("online", () => { if (!byId("problem").hidden) this.again?.(); });
  }

  // Something begins; `longer` is said where it takes a while.
  begin(text, longer) {
    clearTimeout(this.timer);
    byId("problem").hidden = true;
    byId("status").textContent = text;
    byId("hits").parentElement.setAttribute("aria-busy", "true");
    if (longer) this.timer = setTimeout(() => { byId("status").textContent = longer; }, LONG);
  }

  end(text) {
    clearTimeout(this.timer);
    byId("status").textContent = text;
    byId("hits").parentElement.removeAttribute("aria-busy");
  }

  // The service asked for patience.
  waits(problem, seconds) {
    clearTimeout(this.timer);
    const why = problem.status === 429 ? "The service is busy" : problem.detail.replace(/\.$/, "");
    byId("status").textContent = `${why}; trying again in ${seconds} s.`;
  }

  // again(): what the button does; without it there is no button.
  fail(text, again = null) {
    this.end("");
    this.again = again;
    byId("problem-text").textContent = text;
    byId("again").hidden = !again;
    byId("problem").hidden = false;
    byId("problem").scrollIntoView({ block: "nearest" });
  }
}
