// The dialog that asks for the token of the service.

import { byId } from "./dom.js";

// A promise of what was entered; null where the dialog was closed without it.
export function askToken(refused) {
  const dialog = byId("token"), field = byId("token-field");
  byId("token-refused").hidden = !refused;
  field.value = "";
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? field.value.trim() || null : null), { once: true });
    dialog.showModal();
    field.focus();
  });
}

export function prepareToken() {
  const dialog = byId("token");
  byId("token-form").addEventListener("submit", (event) => { event.preventDefault(); dialog.close("use"); });
  byId("token-cancel").addEventListener("click", () => dialog.close(""));
}
