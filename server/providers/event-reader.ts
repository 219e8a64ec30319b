import { StringDecoder } from 'node:string_decoder';

/** One server-sent event. */
export interface ServerEvent {
  /** Null where the event has none. */
  name: string | null;
  data: string;
}

/** No event of a model is so long. */
const LINE_CHARS_MAX = 64 * 1024 * 1024;

/** Takes a `text/event-stream` apart, in pieces as they come; in time that grows with their bytes alone. */
export class EventReader {
  readonly #decoder = new StringDecoder('utf8');
  /** A line that has not ended yet. */
  #line = '';
  #name: string | null = null;
  #data: string | null = null;

  /** The events that are whole with this piece. @throws RangeError for a line without an end */
  read(piece: Buffer): ServerEvent[] {
    const text = this.#decoder.write(piece);
    const events: ServerEvent[] = [];
    let from = 0;
    // Only the new piece is looked through for the end of a line that began long before.
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', from)) {
      const line = this.#line === '' ? text.slice(from, end) : this.#line + text.slice(from, end);
      this.#line = '';
      from = end + 1;
      const event = this.#take(line.endsWith('\r') ? line.slice(0, -1) : line);
      if (event) events.push(event);
    }
    this.#line += text.slice(from);
    if (this.#line.length > LINE_CHARS_MAX) throw new RangeError('A line of the stream does not end.');
    return events;
  }

  /** Takes a line in; the event that it ends, or null. */
  #take(line: string): ServerEvent | null {
    if (line === '') {
      const event = this.#data === null ? null : { name: this.#name, data: this.#data };
      this.#name = null;
      this.#data = null;
      return event;
    }
    if (line.startsWith('data:')) {
      const value = fieldAfter(line, 5);
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    } else if (line.startsWith('event:')) this.#name = fieldAfter(line, 6);
    return null;
  }
}

const fieldAfter = (line: string, from: number): string => line.slice(line[from] === ' ' ? from + 1 : from);
