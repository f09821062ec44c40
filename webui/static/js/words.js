// The page's language, and what its scripts say: the sentences stand on the page, as the catalogue has them.
const WORDS = JSON.parse(document.body.dataset.words);

export function word(name, facts = {}) {
  return WORDS[name].replace(/\{([a-z_]+)\}/g, (_, fact) => String(facts[fact]));
}

// The way of a region to write times, where the browser prefers one of this language: Austria's, Britain's.
const page = document.documentElement.lang;
export const language = navigator.languages.find((one) => one.split("-")[0] === page) ?? page;
