// Ways to give an image: choose a file, take a photograph, drop one anywhere, or paste one.

import { byId } from "./dom.js";

// given(file): an image. refused(sentence): something else.
export function listenForImages({ given, refused }) {
  const take = (files) => {
    const images = [...files].filter((file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?|jp2|avif|bmp|webp|gif|png|jpe?g)$/i.test(file.name));
    if (images.length) given(images[0], images.length > 1);
    else if (files.length) refused(`“${files[0].name}” is not an image. Choose a JPEG, PNG or WebP file, for example.`);
    else refused("There is no image file in what was dropped. Save the image first, then choose the file.");
  };
  for (const [button, input] of [["choose", "file"], ["photograph", "camera"]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", (event) => {
      if (event.target.files.length) take(event.target.files);
      event.target.value = "";
    });
  }
  let inside = 0;
  const mark = () => document.body.classList.toggle("dropping", inside > 0);
  const dragsFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  addEventListener("dragenter", (event) => { if (dragsFiles(event)) { inside++; mark(); } });
  addEventListener("dragleave", (event) => { if (dragsFiles(event)) { inside = Math.max(inside - 1, 0); mark(); } });
  addEventListener("dragover", (event) => { if (dragsFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    inside = 0;
    mark();
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files || [];
    if (!files.length || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(files);
  });
}

// Width and height of an image file as the browser shows it; null where it cannot.
export async function sizeOf(address) {
  const image = new Image();
  image.src = address;
  try {
    await image.decode();
    return [image.naturalWidth, image.naturalHeight];
  } catch {
    return null;
  }
}
