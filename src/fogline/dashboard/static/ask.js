// What the page asks of its server, and the question to the person before something is changed.
import { fill, h } from "./dom.js";
import { t } from "./i18n.js";

export async function ask(call, wanted = {}) {
  const answer = await fetch(`/api/ask/${call}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

// A button that asks the person once more, makes the call, and says what came of it.
export function action(text, question, call, wanted, then = say) {
  return h("button", {
    type: "button",
    "data-focus": `${call}/${JSON.stringify(wanted)}`,
    onclick: () => act(text, question, call, wanted, then),
  }, text);
}

export async function act(text, question, call, wanted, then) {
  if (!(await agreed(question, text))) return;
  try {
    then(await ask(call, wanted));
  } catch (error) {
    say(error.message);
  }
}

function agreed(question, text) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    const end = (answer) => () => {
      dialog.close();
      resolve(answer);
    };
    fill(dialog, h("p", { id: "question" }, question), h("div", { class: "buttons" },
      h("button", { type: "button", onclick: end(false) }, t("cancel")),
      h("button", { type: "button", class: "strong", onclick: end(true) }, text)));
    dialog.oncancel = () => resolve(false);
    dialog.showModal();
  });
}
