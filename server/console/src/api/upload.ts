import { errorOf, unreachable } from './problem.ts';

export interface UploadOptions {
  headers: Record<string, string>;
  /** From 0 to 1. */
  onProgress: (share: number) => void;
  signal: AbortSignal;
}

const DATABASE_TYPE = 'application/vnd.sqlite3';

/** Posts a file, and tells how much of it has gone, which `fetch` cannot. @throws `ApiError` */
export function upload(path: string, file: Blob, options: UploadOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', path);
    const headers = { 'Content-Type': DATABASE_TYPE, ...options.headers };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => options.onProgress(total === 0 ? 0 : loaded / total);
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(options.signal.reason);
    request.onload = () => {
      const { status, responseText } = request;
      if (status < 300) resolve(JSON.parse(responseText));
      else errorOf(new Response(responseText, { status })).then(reject, reject);
    };
    options.signal.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}
