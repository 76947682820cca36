"use strict";

// A gallery of classes that can be searched and filtered, and buttons that copy a command. Without this script
// the gallery is the plain list that the page holds anyway.

const MARKS = {1: ["right", "✓"], 0: ["wrong", "✗"]};

class Gallery {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.form = root.querySelector("form");
    this.list = root.querySelector(".cards");
    this.count = root.querySelector(".matches");
    this.nothing = root.querySelector(".nothing");
    this.cards = [...this.list.children].map((element, place) => this.readCard(element, place));
    this.byElement = new Map(this.cards.map((card) => [card.element, card]));
    this.near = new Set();
    this.observer = new IntersectionObserver((entries) => this.onSight(entries), {rootMargin: "400px"});
    this.form.hidden = false;
    this.recall();
    this.form.addEventListener("input", () => {
      this.remember();
      this.update();
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.cards.forEach((card) => this.observer.observe(card.element));
    addEventListener("beforeprint", () => this.cards.forEach((card) => this.draw(card)));
    this.update();
  }

  readCard(element, place) {
    const [index, wnid] = element.querySelector("small").firstChild.data.split(" · ");
    const name = element.querySelector("b").textContent;
    return {element, index, wnid, name, text: `${name} ${wnid}`.toLowerCase(), codes: this.data.codes[place], pictured: this.data.pictured[place], drawn: ""};
  }

  // What was chosen stays with the page in the browser's history, for a reader who comes back from a class.
  remember() {
    const fields = [...new FormData(this.form)];
    history.replaceState({...history.state, [this.root.dataset.gallery]: fields}, "");
  }

  recall() {
    for (const [name, value] of history.state?.[this.root.dataset.gallery] ?? []) this.form.elements[name].value = value;
  }

  choice() {
    const {query, recipe, judge, verdict} = this.form.elements;
    const all = recipe.value === "all";
    return {
      words: query.value.trim().toLowerCase().split(/\s+/).filter(Boolean),
      recipes: all ? this.data.recipes.map((_, number) => number) : [Number(recipe.value)],
      all,
      judge: Number(judge.value),
      verdict: verdict.value,
    };
  }

  update() {
    this.chosen = this.choice();
    this.key = JSON.stringify([this.chosen.recipes, this.chosen.judge, this.chosen.verdict]);
    this.list.classList.toggle("side-by-side", this.chosen.all);
    let shown = 0;
    for (const card of this.cards) {
      const matches = this.matches(card);
      card.element.hidden = !matches;
      shown += matches;
    }
    this.count.textContent = this.countText(shown);
    this.nothing.hidden = shown > 0;
    this.near.forEach((card) => this.draw(card));
  }

  countText(shown) {
    const [few, all] = [shown, this.cards.length].map((number) => number.toLocaleString("en"));
    const number = few === all ? `${all} classes` : `${few} of ${all} classes`;
    if (this.chosen.verdict === "any") return number;
    const judge = this.data.judges[this.chosen.judge];
    return `${number} with an image that ${judge} takes for ${this.chosen.verdict === "1" ? "its class" : "another class"}`;
  }

  matches(card) {
    const found = this.chosen.words.every((word) => this.matchesWord(card, word));
    return found && this.chosen.recipes.some((recipe) => {
      const codes = [...this.codes(card, recipe)];
      return codes.some((code) => code !== " " && (this.chosen.verdict === "any" || code === this.chosen.verdict));
    });
  }

  // A number is an index; as a part of a wnid it would match nearly everything.
  matchesWord(card, word) {
    return /^\d{1,4}$/.test(word) ? card.index === word || card.name.includes(word) : card.text.includes(word);
  }

  codes(card, recipe) {
    const size = this.data.seeds.length;
    return card.codes[this.chosen.judge].slice(recipe * size, (recipe + 1) * size);
  }

  onSight(entries) {
    for (const entry of entries) {
      const card = this.byElement.get(entry.target);
      if (entry.isIntersecting) this.near.add(card);
      else this.near.delete(card);
      if (entry.isIntersecting) this.draw(card);
    }
  }

  draw(card) {
    if (card.drawn === this.key || card.element.hidden) return;
    card.drawn = this.key;
    const strips = this.chosen.recipes.map((recipe) => this.strip(card, recipe));
    card.element.querySelector(".strips").replaceChildren(...strips);
    const codes = this.chosen.recipes.map((recipe) => this.codes(card, recipe)).join("");
    card.element.querySelector("i").textContent = this.score(codes);
  }

  score(codes) {
    const right = codes.split("1").length - 1;
    return `${right}/${right + codes.split("0").length - 1}`;
  }

  strip(card, recipe) {
    const codes = this.codes(card, recipe);
    const strip = document.createElement("span");
    strip.className = "strip";
    if (card.pictured[recipe] === "0") {
      strip.classList.add("empty");
      strip.textContent = "no image";
    } else {
      strip.append(this.picture(card, recipe, codes), this.marks(codes));
    }
    if (!this.chosen.all) return strip;
    const named = document.createElement("span");
    const name = document.createElement("span");
    name.className = "strip-name";
    name.dir = "auto";
    name.textContent = this.data.recipes[recipe];
    named.append(name, strip);
    return named;
  }

  picture(card, recipe, codes) {
    const path = `${this.data.thumbnails}/${card.index.padStart(4, "0")}-${recipe}.webp`;
    // One that is there already would be fetched a second time.
    const image = card.element.querySelector(`img[src="${path}"]`) ?? new Image(this.data.width, this.data.height);
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = `${card.name}, ${this.data.recipes[recipe]}: ${this.score(codes).replace("/", " of ")} right`;
    if (!image.hasAttribute("src")) image.src = path;
    return image;
  }

  marks(codes) {
    const marks = document.createElement("span");
    marks.className = "marks";
    marks.ariaHidden = "true";
    marks.style.gridTemplateColumns = `repeat(${this.data.columns}, 1fr)`;
    for (const code of codes) {
      const [kind, mark] = MARKS[code] || ["none", ""];
      const cell = document.createElement("span");
      cell.className = kind;
      if (mark) cell.dataset.mark = mark;
      if (this.chosen.verdict !== "any" && code !== this.chosen.verdict) cell.classList.add("off");
      marks.append(cell);
    }
    return marks;
  }
}

function offerCopy(button) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const label = button.firstChild;
    label.data = "Copied";
    setTimeout(() => { label.data = "Copy"; }, 1500);
  });
}

document.querySelectorAll("[data-gallery]").forEach((root) => new Gallery(root));
document.querySelectorAll("[data-copy]").forEach(offerCopy);
