// The page: signs in, listens, and shows the part that the address names (#/tree, #/runs, #/models, #/trust).
import { say } from "./ask.js";
import { fill, h } from "./dom.js";
import { current, switchLanguage, t } from "./i18n.js";
import * as modelsPage from "./models.js";
import * as runsPage from "./runs.js";
import * as signInPage from "./sign-in.js";
import * as store from "./store.js";
import * as treePage from "./tree.js";
import * as trustPage from "./trust.js";

const PAGES = { tree: treePage, runs: runsPage, models: modelsPage, trust: trustPage };
const THEME = "fogline-theme";
const main = document.getElementById("main");
let about;
let nobody; // What is said where somebody has to sign in first.
let shown;

async function signIn() {
  const key = location.hash.slice(1);
  if (!key || key.startsWith("/")) return;
  history.replaceState(null, "", "/#/"); // So that the key stands in no history and no picture of the screen.
  const answer = await fetch("/api/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(key),
  });
  if (!answer.ok) say((await answer.json()).error);
}

function page() {
  const [, name] = location.hash.split("/");
  return about.pages.includes(name) ? name : about.pages[0];
}

function show() {
  tools();
  if (nobody) {
    signInPage.show(main, nobody);
    return;
  }
  const name = page();
  const rest = location.hash.split("/").slice(2).map(decodeURIComponent);
  shown = PAGES[name];
  document.title = `${t(name)} · ${about.title} · Fogline`;
  fill(main);
  shown.show(main, about, rest);
  frame();
}

function frame() {
  const name = page();
  document.getElementById("title").textContent = about.title;
  document.getElementById("who").textContent = about.who && `${about.who} (${about.role})`;
  const nav = document.getElementById("nav");
  nav.setAttribute("aria-label", t("pages"));
  fill(nav, about.pages.map((one) => h("a", { href: `#/${one}`, "aria-current": one === name && "page" }, t(one))));
}

// What is there for nobody, too, but for the way out.
function tools() {
  document.getElementById("skip").textContent = t("skip");
  const out = document.getElementById("out");
  out.hidden = !about?.until;
  out.textContent = t("sign out");
  document.getElementById("language").textContent = current() === "en" ? "中文" : "English";
  document.getElementById("theme").textContent = t(isDark() ? "light" : "dark");
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem(THEME, document.documentElement.dataset.theme);
  show();
}

async function start() {
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "";
  await signIn();
  const answer = await fetch("/api/about");
  const said = await answer.json();
  if (!answer.ok) {
    say(said.error);
    return;
  }
  if (said.sign_in) nobody = said;
  else about = said;
  document.getElementById("out").onclick = signInPage.signOut;
  document.getElementById("language").onclick = () => {
    switchLanguage();
    show();
  };
  document.getElementById("theme").onclick = switchTheme;
  document.getElementById("skip").onclick = (event) => {
    event.preventDefault(); // The address names the page.
    main.focus();
  };
  matchMedia("(prefers-color-scheme: dark)").onchange = show;
  window.onhashchange = show;
  if (nobody) {
    show();
    return;
  }
  store.listen((kinds) => {
    if (store.over && about.until) {
      location.assign("/"); // The session is over.
      return;
    }
    if (kinds.has("connection")) say(store.connected ? "" : t("disconnected"));
    if (kinds.has("trouble")) say([...store.troubles.values()].join(" "));
    shown.update(kinds);
  });
  show();
  store.open();
}

start();
