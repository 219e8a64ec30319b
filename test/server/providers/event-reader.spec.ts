import { expect } from 'chai';
import { EventReader, type ServerEvent } from '../../../server/providers/event-reader.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';

/** The events of a stream that comes in pieces of so many bytes. */
function eventsOf(stream: string, pieceBytes: number): ServerEvent[] {
  const reader = new EventReader();
  const bytes = Buffer.from(stream);
  const events: ServerEvent[] = [];
  for (let from = 0; from < bytes.length; from += pieceBytes) {
    events.push(...reader.read(bytes.subarray(from, from + pieceBytes)));
  }
  return events;
}

describe('the reader of an event stream', () => {
  const streams: [string, string, ServerEvent[]][] = [
    [
      'lines that end in either way',
      'data: a\n\nevent: b\r\ndata:c\r\n\r\n',
      [
        { name: null, data: 'a' },
        { name: 'b', data: 'c' },
      ],
    ],
    ['characters of several bytes', 'data: é😀\n\n', [{ name: null, data: 'é😀' }]],
    ['data over several lines', 'data: {\ndata:   "a"}\n\n', [{ name: null, data: '{\n  "a"}' }]],
    [
      'comments, other fields and events without data',
      ': keep alive\n\nid: 1\nretry: 2\nevent: x\n\ndata: a\n\n',
      [{ name: null, data: 'a' }],
    ],
    ['nothing of an event that does not end', 'data: a\n\ndata: b\n', [{ name: null, data: 'a' }]],
  ];
  for (const [what, stream, events] of streams) {
    it(`reads ${what}, wherever its pieces are cut`, () => {
      for (let bytes = 1; bytes <= Buffer.byteLength(stream); bytes += 1) {
        expect(eventsOf(stream, bytes)).to.deep.equal(events);
      }
    });
  }

  it('takes time for a long line that grows with its length alone', () => {
    const timeOf = (chars: number): number => {
      const startedAt = systemClock.monotonic();
      const [event] = eventsOf(`data: ${'x'.repeat(chars)}\n\n`, 1024);
      expect(event?.data).to.have.length(chars);
      return systemClock.monotonic() - startedAt;
    };
    timeOf(1 << 20);
    // Sixteen times as long: what looks at all of a line for each of its pieces takes two hundred times as long.
    expect(timeOf(1 << 23)).to.be.below(60 * Math.max(timeOf(1 << 19), 5));
  });

  it('refuses a line that does not end', () => {
    const reader = new EventReader();
    const piece = Buffer.alloc(8 * 1024 * 1024, 'x');
    expect(() => {
      for (let count = 0; count < 10; count += 1) reader.read(piece);
    }).to.throw(RangeError);
  });
});
