// Small pieces that both views are made of.

import { picture } from "./api.js";

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function showError(error) {
  const shown = byId("error");
  shown.hidden = !error;
  shown.textContent = error ? error.message : "";
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    picture(target.dataset.name).then((url) => { target.src = url; }, () => { target.alt = `${target.alt} (no picture)`; });
  }
}, { rootMargin: "400px" });

// A background's picture, fetched when it comes into view.
export function pictureOf(background) {
  const image = element("img", { alt: title(background), onload: () => URL.revokeObjectURL(image.src) });
  image.dataset.name = background.name;
  seen.observe(image);
  return image;
}

export const id = (background) => background.name.split("/").pop();

export const title = (background) => background.title || id(background).replaceAll("-", " ");

// Makes a label with a file input a place to drop files as well.
export function acceptFiles(drop, input, take) {
  input.addEventListener("change", () => { if (input.files.length) take([...input.files]); input.value = ""; });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const files = [...event.dataTransfer.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) take(files);
    else showError(new Error("Drop pictures: JPEG, PNG or WebP files."));
  });
}
