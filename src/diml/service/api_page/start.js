// Shows the routes with Swagger UI. A service with a token gives their description only with it; the token is kept for
// this tab, under the name that the page of the service uses, and is sent with every request that is tried here.
"use strict";

const KEY = "diml-token";
const routes = document.getElementById("routes");
const ask = document.getElementById("ask");
const problem = document.getElementById("problem");

function withToken(headers) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

async function show() {
  const answer = await fetch(routes.dataset.openapi, { headers: withToken({}) });
  if (answer.status === 401) {
    problem.textContent = sessionStorage.getItem(KEY) ? "This is not the token of the service." : "";
    sessionStorage.removeItem(KEY);
    ask.hidden = false;
    document.getElementById("token").focus();
    return;
  }
  if (!answer.ok) throw new Error(`the service answered ${answer.status}; reload this page in a moment`);
  ask.hidden = true;
  window.SwaggerUIBundle({
    spec: await answer.json(),
    domNode: routes,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // the validator is on another site
    requestInterceptor: (request) => {
      request.headers = withToken(request.headers);
      return request;
    },
  });
}

function fail(error) {
  ask.hidden = false;
  problem.textContent = `The routes cannot be shown: ${error.message}.`;
}

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, document.getElementById("token").value.trim());
  show().catch(fail);
});

show().catch(fail);
