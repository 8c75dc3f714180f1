// What the page says, in English and Russian. Nodes name their text in `data-t`, and follow a switch.

export const TEXTS = {
  en: {
    name: "Opora", otherLanguage: "RU", switchLanguage: "Русский",
    welcome: "Answers from your company’s documents", key: "API key", logIn: "Log in",
    welcomeMore: "Each sentence comes with the place in the document that carries it.",
    keyStays: "The key stays in this tab and is forgotten when you close it.", logOut: "Log out",
    unauthenticated: "This key is wrong, expired or revoked.", new: "New conversation",
    forbidden: "This key may not ask questions.", conversation: "Conversation",
    emptyTitle: "What would you like to know?", question: "Ask a question",
    emptyMore: "Opora answers only from the documents that you may read, and says so when they hold no answer.",
    send: "Ask", stop: "Stop", keys: "Enter sends, Shift + Enter starts a new line", seconds: "{n} s",
    searching: "Searching the documents", writing: "Writing", stopped: "Stopped: this answer is not complete.",
    reading: { one: "Reading {n} passage", other: "Reading {n} passages" },
    sources: "Sources", nearest: "Nearest documents", again: "Ask again",
    up: "Good answer", down: "Bad answer", thanks: "Thank you", failed: "No answer: something failed",
    abstained: "No answer", pages: "p. {n}", version: "version {n}",
    nothing_readable: "No document that you may read bears on the question.",
    weak_evidence: "What was found is too far from the question.",
    model_found_nothing: "The passages found do not answer it.",
    nothing_supported: "Nothing that the model wrote was borne out by the passages.",
    close: "Close", download: "Download the original", origin: "Open at its source", loading: "Loading",
    moved: "The quote is not at its place in this version: ",
    connection: "There is no connection to Opora, or it was cut off.", overloaded: "Opora is busy; ask again in a moment.",
    conflict: "A document behind this answer has just changed.", not_found: "It is no longer there, or not yours to see.",
    unavailable: "A part of Opora is down; tell your administrator if it stays so.",
  },
  ru: {
    name: "Опора", otherLanguage: "EN", switchLanguage: "English",
    welcome: "Ответы из документов вашей компании", key: "Ключ API", logIn: "Войти",
    welcomeMore: "К каждому предложению — место в документе, на которое оно опирается.",
    keyStays: "Ключ остаётся в этой вкладке и забывается, когда вы её закроете.", logOut: "Выйти",
    unauthenticated: "Этот ключ неверен, истёк или отозван.", new: "Новый разговор",
    forbidden: "С этим ключом нельзя задавать вопросы.", conversation: "Разговор",
    emptyTitle: "Что вы хотите узнать?", question: "Задайте вопрос",
    emptyMore: "«Опора» отвечает только по документам, которые вам доступны, и прямо говорит, если ответа в них нет.",
    send: "Спросить", stop: "Остановить", keys: "Enter — отправить, Shift + Enter — новая строка", seconds: "{n} с",
    searching: "Ищу в документах", writing: "Пишу ответ", stopped: "Остановлено: ответ неполный.",
    reading: { one: "Читаю {n} отрывок", few: "Читаю {n} отрывка", other: "Читаю {n} отрывков" },
    sources: "Источники", nearest: "Ближайшие документы", again: "Спросить ещё раз",
    up: "Хороший ответ", down: "Плохой ответ", thanks: "Спасибо", failed: "Ответа нет: произошёл сбой",
    abstained: "Нет ответа", pages: "с. {n}", version: "версия {n}",
    nothing_readable: "Среди доступных вам документов нет подходящих к вопросу.",
    weak_evidence: "Найденное слишком далеко от вопроса.",
    model_found_nothing: "Найденные отрывки на него не отвечают.",
    nothing_supported: "Написанное моделью не подтвердилось отрывками.",
    close: "Закрыть", download: "Скачать оригинал", origin: "Открыть в источнике", loading: "Загружаю",
    moved: "Цитаты нет на её месте в этой версии: ",
    connection: "Связи с «Опорой» нет, или она прервалась.", overloaded: "«Опора» занята, спросите чуть позже.",
    conflict: "Документ, на который опирался ответ, только что изменился.", not_found: "Этого больше нет, или оно вам недоступно.",
    unavailable: "Часть «Опоры» не работает; если это надолго, скажите администратору.",
  },
};

const STORED = "opora.language";
let language = localStorage.getItem(STORED) ?? (navigator.language.startsWith("ru") ? "ru" : "en");

export function t(name, n) {
  let text = TEXTS[language][name];
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(n)] ?? text.other;
  return text.replace("{n}", n);
}

/** Give a node a text that follows the language from then on. */
export function label(node, name, n) {
  node.dataset.t = name;
  if (n !== undefined) node.dataset.n = n;
  node.textContent = t(name, n);
  node.hidden = false;
}

/** Give a node a text that is what it is in both languages. */
export function write(node, text) {
  delete node.dataset.t;
  node.textContent = text;
  node.hidden = false;
}

/** Say all texts below a node in the current language. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t, node.dataset.n);
  for (const node of root.querySelectorAll("[data-t-hint]")) node.placeholder = t(node.dataset.tHint);
  for (const node of root.querySelectorAll("[data-t-label]")) node.ariaLabel = node.title = t(node.dataset.tLabel);
}

/** Say the whole page in the current language. */
export function translatePage() {
  document.documentElement.lang = language;
  document.title = t("name");
  translate(document);
}

export function switchLanguage() {
  language = language === "ru" ? "en" : "ru";
  localStorage.setItem(STORED, language);
  translatePage();
}
