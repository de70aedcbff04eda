// One upload with tus-js-client, as its documentation shows it. The argument is JSON: `options` of the client,
// `path` of the file (without it standard input is sent), and `terminates`, whether to delete the upload as soon as
// some of it has been sent. What happens is told in lines of JSON.
import fs from "node:fs";
import { FileUrlStorage, Upload } from "tus-js-client";

const { path, options, storage, terminates } = JSON.parse(process.argv[2]);
const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const upload = new Upload(path ? fs.createReadStream(path) : process.stdin, {
    ...options,
    ...(storage ? { urlStorage: new FileUrlStorage(storage) } : {}),
    onProgress(sent) {
        tell({ sent });
        if (terminates && sent > 0) {
            upload.abort(true).then(() => tell({ terminated: upload.url }));
        }
    },
    onSuccess({ lastResponse }) {
        tell({ url: upload.url, content: lastResponse.getHeader("Content-Location") });
    },
    onError(error) {
        tell({ error: String(error) });
        process.exitCode = 1;
    },
});
const [previous] = await upload.findPreviousUploads();
if (previous) {
    upload.resumeFromPreviousUpload(previous);
}
upload.start();
