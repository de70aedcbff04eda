// The script of pages/uppy.html: a page that uploads with Uppy what is dropped on it, and remembers what happened.
import Uppy from "@uppy/core";
import DropTarget from "@uppy/drop-target";
import Tus from "@uppy/tus";

const bar = document.querySelector("progress");
const retried = Promise.withResolvers();
const done = Promise.withResolvers();

window.page = { progress: [], retried: retried.promise, done: done.promise };
window.prepare = (options) => {
    new Uppy({ autoProceed: true })
        .use(DropTarget, { target: document.body })
        .use(Tus, {
            ...options,
            onShouldRetry(error, attempt, _, usual) {
                retried.resolve(attempt);
                return usual(error);
            },
        })
        .on("upload-progress", (_, { bytesUploaded, bytesTotal }) => {
            bar.value = bytesUploaded / bytesTotal;
            page.progress.push(bytesUploaded);
        })
        .on("upload-success", (_, { uploadURL, body }) => {
            done.resolve({ url: uploadURL, content: body.xhr.getResponseHeader("Content-Location") });
        })
        .on("upload-error", (_, error) => done.reject(error));
};
