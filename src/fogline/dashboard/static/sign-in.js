// Signing in with a provider, where the cloud's page wants it, and signing out.
import { say } from "./ask.js";
import { fill, h } from "./dom.js";
import { t } from "./i18n.js";

// What the server says of nobody: `sign_in` is the provider's name, `why` what went wrong the last time.
export function show(main, said) {
  document.title = `${t("sign in")} · Fogline`;
  fill(main, h("h1", {}, t("sign in")),
    said.why && h("p", { class: "bad", role: "alert" }, said.why),
    h("p", {}, h("a", { class: "button strong", href: "/sign-in/start" }, t("sign in with", { name: said.sign_in }))),
    h("p", { class: "quiet" }, t("sign in is")));
}

export async function signOut() {
  const answer = await fetch("/api/sign-out", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  if (answer.ok) location.assign("/");
  else say((await answer.json()).error);
}

// In place of what only the person's own key can do.
export function keyless() {
  return h("p", { class: "quiet" }, t("no key"));
}
