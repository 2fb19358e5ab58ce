// Words in the person's language: one file a language in lang/.
import en from "./lang/en.js";
import zhHant from "./lang/zh-Hant.js";

const LANGUAGES = { en, "zh-Hant": zhHant };
const KEPT = "fogline-language";

let language = localStorage.getItem(KEPT) ?? (navigator.language.startsWith("zh") ? "zh-Hant" : "en");
if (!(language in LANGUAGES)) language = "en";
document.documentElement.lang = language;

export function current() {
  return language;
}

export function switchLanguage() {
  const names = Object.keys(LANGUAGES);
  language = names[(names.indexOf(language) + 1) % names.length];
  localStorage.setItem(KEPT, language);
  document.documentElement.lang = language;
}

// t("round", {n: 3}): the text, with what stands in braces filled in.
export function t(key, values = {}) {
  const text = LANGUAGES[language][key];
  if (text === undefined) throw new Error(`There are no words for ${key}.`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Of a word that comes from the server, such as a run's status: as it is where there is no other.
export function word(kind, value) {
  return LANGUAGES[language][`${kind}.${value}`] ?? value;
}
