// What one end of an open WebSocket may send the other, in the manner of the Autobahn suite's sections 1 to
// 7, 9 and 10: as data, so that any two ways between the two can be compared by them.
import { closePayload, type FrameShape, frame, MASK } from '../support/frame.ts';

/** Opcodes by their numbers in RFC 6455 5.2. */
const [CONT, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10] as const;

/** Section in the suite's numbering, what it is, and what is sent, each in a write of its own. */
export type Case = readonly [section: string, what: string, send: readonly Uint8Array[]];

/** Whose frames are masked, and whose are not (RFC 6455 5.1). */
export type Sender = 'client' | 'service';

const FOUR_MEGABYTES = Buffer.alloc(4_194_304, 't');

const bytes = (...values: number[]) => Buffer.from(values);

/** UTF-8 good and bad (Markus Kuhn's stress test has the same classes). */
const SEQUENCES: readonly (readonly [string, string, Uint8Array])[] = [
  ['6.2', 'letters beyond ASCII', Buffer.from('Hello-µ@ßöäüàá-UTF-8!!')],
  [
    '6.3',
    'a surrogate within good text',
    Buffer.concat([Buffer.from('κόσμε'), bytes(0xed, 0xa0, 0x80), Buffer.from('edited')]),
  ],
  ['6.5', 'a word in Greek', Buffer.from('κόσμε')],
  ['6.6', 'a sequence cut short', Buffer.from('κόσμε').subarray(0, 9)],
  [
    '6.7',
    'the first sequences of each length',
    bytes(0x00, 0xc2, 0x80, 0xe0, 0xa0, 0x80, 0xf0, 0x90, 0x80, 0x80),
  ],
  ['6.8', 'a sequence of five bytes', bytes(0xf8, 0x88, 0x80, 0x80, 0x80)],
  [
    '6.9',
    'the last sequences of each length',
    bytes(0x7f, 0xdf, 0xbf, 0xef, 0xbf, 0xbf, 0xf4, 0x8f, 0xbf, 0xbf),
  ],
  ['6.10', 'beyond U+10FFFF', bytes(0xf4, 0x90, 0x80, 0x80)],
  ['6.11.1', 'the last before the surrogates', bytes(0xed, 0x9f, 0xbf)],
  ['6.11.2', 'the first behind the surrogates', bytes(0xee, 0x80, 0x80)],
  ['6.11.4', 'U+10FFFF', bytes(0xf4, 0x8f, 0xbf, 0xbf)],
  ['6.12', 'a lone continuation', bytes(0x80)],
  ['6.13', 'a lone start', bytes(0xc3, 0x20)],
  ['6.14', 'a start without its end', bytes(0xe2, 0x82)],
  [
    '6.15',
    'starts without their ends, one behind the other',
    bytes(
      0xc0,
      0xe0,
      0x80,
      0xf0,
      0x80,
      0x80,
      0xf8,
      0x80,
      0x80,
      0x80,
      0xdf,
      0xef,
      0xbf,
      0xf7,
      0xbf,
      0xbf,
    ),
  ],
  ['6.16', 'bytes that UTF-8 never has', bytes(0xfe, 0xff)],
  ['6.17', 'a slash in two bytes', bytes(0xc0, 0xaf)],
  ['6.18', 'a NUL in three bytes', bytes(0xe0, 0x80, 0x80)],
  ['6.19', 'a NUL in two bytes', bytes(0xc0, 0x80)],
  ['6.19', 'a NUL in four bytes', bytes(0xf0, 0x80, 0x80, 0x80)],
  ['6.19', 'a NUL in six bytes', bytes(0xfc, 0x80, 0x80, 0x80, 0x80, 0x80)],
  ['6.20', 'a lone surrogate', bytes(0xed, 0xbf, 0xbf)],
  ['6.21', 'a pair of surrogates', bytes(0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80)],
  ['6.23', 'a replacement character', bytes(0xef, 0xbf, 0xbd)],
];

/**
 * The suite's sets of sequences, each of them a message of its own: the edges of what is UTF-8 and what is
 * not, by length (6.7 to 6.11), lone continuations and starts (6.12 to 6.16), overlong ones (6.17 to 6.19),
 * surrogates (6.20, 6.21).
 */
const EDGES: readonly (readonly [string, readonly string[]])[] = [
  ['6.7', ['00', 'c280', 'e0a080', 'f0908080']],
  ['6.8', ['f888808080', 'fc8480808080']],
  ['6.9', ['7f', 'dfbf', 'efbfbf', 'f48fbfbf']],
  ['6.10', ['f7bfbfbf', 'fbbfbfbfbf', 'fdbfbfbfbfbf']],
  ['6.11', ['ed9fbf', 'ee8080', 'efbfbd', 'f48fbfbf', 'f4908080']],
  ['6.12', ['80', 'bf', '80bf', '80bf80', '80bf80bf', '80bf80bf80', '80bf80bf80bf']],
  ['6.12.8', [range(0x80, 0xbf)]],
  ['6.13', [range(0xc0, 0xdf, '20'), range(0xe0, 0xef, '20'), range(0xf0, 0xf7, '20')]],
  ['6.13', [range(0xf8, 0xfb, '20'), range(0xfc, 0xfd, '20')]],
  ['6.14', ['c0', 'e080', 'f08080', 'f8808080', 'fc80808080']],
  ['6.14', ['df', 'efbf', 'f7bfbf', 'fbbfbfbf', 'fdbfbfbfbf']],
  ['6.16', ['fe', 'ff', 'fefeffff']],
  ['6.17', ['c0af', 'e080af', 'f08080af', 'f8808080af', 'fc80808080af']],
  ['6.18', ['c1bf', 'e09fbf', 'f08fbfbf', 'f887bfbfbf', 'fc83bfbfbfbf']],
  ['6.19', ['c080', 'e08080', 'f0808080', 'f880808080', 'fc8080808080']],
  ['6.20', ['eda080', 'edadbf', 'edae80', 'edafbf', 'edb080', 'edbe80', 'edbfbf']],
  ['6.21', ['eda080edb080', 'eda080edbfbf', 'edadbfedb080', 'edadbfedbfbf']],
  ['6.21', ['edae80edb080', 'edae80edbfbf', 'edafbfedb080', 'edafbfedbfbf']],
  ['6.23', ['efbfb9', 'efbfba', 'efbfbb', 'efbfbc', 'efbfbd', 'efbfbe', 'efbfbf']],
];
/** The last two code points of each plane: good UTF-8, though no characters. */
const NONCHARACTERS = Array.from({ length: 17 }, (_, plane) => plane * 0x10000).flatMap(plane =>
  [0xfffe, 0xffff].map(last => plane + last),
);

/** Everything that `sender` may send. */
export function casesOf(sender: Sender): readonly Case[] {
  const [mask, wrongMask] = sender === 'client' ? [MASK, null] : [null, MASK];
  const frameOf = (opcode: number, shape: FrameShape = {}) => frame(opcode, { mask, ...shape });
  const bye = frameOf(CLOSE, { payload: closePayload(1000) });
  const text = (payload: string | Uint8Array) => frameOf(TEXT, { payload });
  const part = (opcode: number, payload: string | Uint8Array, fin = false) =>
    frameOf(opcode, { payload, fin });
  const close = (payload: Uint8Array | string) => frameOf(CLOSE, { payload });
  const fragments = (opcode: number, payload: Buffer, size: number): Buffer[] =>
    cut([payload], size).map((piece, i, all) =>
      part(i === 0 ? opcode : CONT, piece, i === all.length - 1),
    );
  /** In one write, a frame a write, and a byte a write. */
  const chopped = (
    sections: readonly [string, string, string],
    what: string,
    sent: readonly Buffer[],
  ): Case[] => [
    [sections[0], `${what}, at once`, [Buffer.concat(sent)]],
    [sections[1], `${what}, a frame a write`, sent],
    [sections[2], `${what}, a byte a write`, cut(sent, 1)],
  ];
  /** A thousand messages, each with a content of its own as far as its length allows. */
  const many = (opcode: number, length: number) =>
    Array.from({ length: 1_000 }, (_, i) =>
      frameOf(opcode, { payload: `message ${i}`.padEnd(length, '*').slice(0, length) }),
    );
  /** Of a frame of less than 126 bytes. */
  const headBytes = mask === null ? 2 : 6;
  const tenPings = () =>
    Array.from({ length: 10 }, (_, i) => frameOf(PING, { payload: `payload-${i}` }));

  const frames: Case[] = [0, 125, 126, 127, 128, 65_535, 65_536].flatMap((length): Case[] => [
    ['1.1', `text of ${length} bytes`, [text('*'.repeat(length)), bye]],
    [
      '1.2',
      `binary of ${length} bytes`,
      [frameOf(BINARY, { payload: Buffer.alloc(length, 0xfe) }), bye],
    ],
    ['1.1.8', `text of ${length} bytes in pieces`, cut([text('*'.repeat(length)), bye], 997)],
  ]);

  const pings: Case[] = [
    ['2.1', 'an empty ping', [frameOf(PING), bye]],
    ['2.2', 'a ping with a payload', [frameOf(PING, { payload: 'Hello' }), bye]],
    ['2.3', 'a ping with bytes', [frameOf(PING, { payload: bytes(0, 255, 254, 253) }), bye]],
    ['2.4', 'a ping of 125 bytes', [frameOf(PING, { payload: Buffer.alloc(125, 254) }), bye]],
    ['2.5', 'a ping of 126 bytes', [frameOf(PING, { payload: Buffer.alloc(126, 254) }), bye]],
    [
      '2.6',
      'a ping byte by byte',
      cut([frameOf(PING, { payload: Buffer.alloc(125, 254) }), bye], 1),
    ],
    ['2.7', 'a pong that nobody asked for', [frameOf(PONG), bye]],
    ['2.8', 'a pong with a payload', [frameOf(PONG, { payload: 'unsolicited' }), bye]],
    ['2.9', 'a pong, then a ping', [frameOf(PONG), frameOf(PING, { payload: 'x' }), bye]],
    ['2.10', 'ten pings', [...tenPings(), bye]],
    ['2.11', 'ten pings byte by byte', cut([...tenPings(), bye], 1)],
    [
      '2.12',
      // `ws` hangs up on more of them.
      'fifty pings at once',
      [Buffer.concat(Array.from({ length: 5 }, tenPings).flat()), bye],
    ],
  ];

  const reservedBits: Case[] = [1, 2, 3, 4, 5, 6, 7].map(
    (rsv): Case => [
      `3.${rsv}`,
      `reserved bits ${rsv} behind a good message`,
      [text('good'), frameOf(rsv > 4 ? PING : TEXT, { payload: 'x', rsv }), bye],
    ],
  );

  const opcodes: Case[] = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(
    (opcode): Case => [
      opcode < 8 ? '4.1' : '4.2',
      `opcode ${opcode} behind a good message`,
      [text('good'), frameOf(opcode, { payload: opcode % 2 === 0 ? '' : 'x' }), bye],
    ],
  );

  const fragmentation: Case[] = [
    ['5.1', 'a ping in two', [part(PING, 'a'), part(CONT, 'b', true), bye]],
    ['5.2', 'a pong in two', [part(PONG, 'a'), part(CONT, 'b', true), bye]],
    ['5.3', 'text in two', [Buffer.concat([part(TEXT, 'a'), part(CONT, 'b', true)]), bye]],
    ['5.4', 'text in two writes', [part(TEXT, 'a'), part(CONT, 'b', true), bye]],
    ['5.5', 'text in two, byte by byte', cut([part(TEXT, 'a'), part(CONT, 'b', true), bye], 1)],
    [
      '5.6',
      'a ping between two parts',
      [part(TEXT, 'a'), frameOf(PING, { payload: 'p' }), part(CONT, 'b', true), bye],
    ],
    [
      '5.7',
      'pings between many parts',
      [...fragments(TEXT, Buffer.from('fragmented'), 1).flatMap(f => [f, frameOf(PING)]), bye],
    ],
    [
      '5.8',
      'a ping between two parts, a byte a write',
      cut([part(TEXT, 'a'), frameOf(PING, { payload: 'p' }), part(CONT, 'b', true), bye], 1),
    ],
    ...chopped(['5.9', '5.10', '5.11'], 'a last part without a first', [
      part(CONT, 'a', true),
      text('b'),
      bye,
    ]),
    ...chopped(['5.12', '5.13', '5.14'], 'a middle part without a first', [
      part(CONT, 'a'),
      text('b'),
      bye,
    ]),
    [
      '5.15',
      'a part behind a whole message',
      [part(TEXT, 'a'), part(CONT, 'b', true), part(CONT, 'c'), text('d'), bye],
    ],
    ...[false, true].map(
      (fin): Case => [
        fin ? '5.17' : '5.16',
        `a ${fin ? 'last' : 'middle'} part without a first before each of two messages`,
        [...twice(() => [part(CONT, 'x', fin), part(TEXT, 'a'), part(CONT, 'b', true)]), bye],
      ],
    ),
    ['5.18', 'a message within a message', [part(TEXT, 'a'), text('b'), bye]],
    [
      '5.20',
      'five parts with pings between, in one write',
      [
        Buffer.concat(
          [part(TEXT, '1'), part(CONT, '2'), frameOf(PING, { payload: 'p' })].concat(
            [part(CONT, '3'), part(CONT, '4'), frameOf(PING, { payload: 'q' })],
            [part(CONT, '5', true), bye],
          ),
        ),
      ],
    ],
    [
      '5.19',
      'two messages in parts with pings',
      [
        part(TEXT, 'a'),
        frameOf(PING),
        part(CONT, 'b', true),
        part(BINARY, 'c'),
        frameOf(PING),
        part(CONT, 'd', true),
        bye,
      ],
    ],
    [
      '5.21',
      'empty parts',
      [
        part(TEXT, ''),
        ...Array.from({ length: 100 }, () => part(CONT, '')),
        part(CONT, '', true),
        bye,
      ],
    ],
    [
      '5.22',
      'a message that never ends',
      [part(TEXT, 'a'), ...Array.from({ length: 500 }, () => part(CONT, 'b'))],
    ],
  ];

  const utf8: Case[] = SEQUENCES.flatMap(([section, what, payload]): Case[] => [
    [section, `${what}, in one frame`, [text(payload), bye]],
    [section, `${what}, a byte a frame`, [...fragments(TEXT, Buffer.from(payload), 1), bye]],
    [section, `${what}, a byte a write`, cut([text(payload), bye], 1)],
  ]);

  const greek = Buffer.from('κόσμε');
  const utf8Edges: Case[] = [
    ...Array.from(greek, (_, i): Case => {
      const length = i + 1;
      return [`6.6.${length}`, `${length} bytes of text`, [text(greek.subarray(0, length)), bye]];
    }),
    ...EDGES.flatMap(([section, sequences]) =>
      sequences.map(
        (hex): Case => [section, `UTF-8 or not: ${hex}`, [text(Buffer.from(hex, 'hex')), bye]],
      ),
    ),
    ...NONCHARACTERS.map(
      (point): Case => [
        '6.22',
        `the noncharacter U+${point.toString(16).toUpperCase().padStart(4, '0')}`,
        [text(String.fromCodePoint(point)), bye],
      ],
    ),
  ];

  /** Good text in Greek, something bad behind it, and good text again, which no reader should wait for. */
  const [GOOD, BAD, MORE] = [
    Buffer.from('κόσμε'),
    bytes(0xf4, 0x90, 0x80, 0x80),
    Buffer.from('edited'),
  ];
  const emptyAndBroken: Case[] = [
    ['6.1.1', 'an empty text', [text(''), bye]],
    ['6.1.2', 'three empty parts', [part(TEXT, ''), part(CONT, ''), part(CONT, '', true), bye]],
    [
      '6.1.3',
      'a part between two empty ones',
      [part(TEXT, ''), part(CONT, 'middle'), part(CONT, '', true), bye],
    ],
    [
      '6.4.1',
      'bad UTF-8 in the second of three parts',
      [part(TEXT, GOOD), part(CONT, BAD), part(CONT, MORE, true), bye],
    ],
    [
      '6.4.2',
      'bad UTF-8 that the second of three parts decides',
      [
        part(TEXT, Buffer.concat([GOOD, BAD.subarray(0, 1)])),
        part(CONT, BAD.subarray(1, 2)),
        part(CONT, Buffer.concat([BAD.subarray(2), MORE]), true),
        bye,
      ],
    ],
    ...[GOOD.length, GOOD.length + 1].map(
      (at, i): Case => [
        `6.4.${i + 3}`,
        `bad UTF-8 in one frame, cut at its payload's byte ${at}`,
        cutAt(text(Buffer.concat([GOOD, BAD, MORE])), headBytes + at, headBytes + at + 2).concat(
          bye,
        ),
      ],
    ),
  ];

  const closing: Case[] = [
    ['7.1.1', 'a message, then a close', [text('m'), bye]],
    ['7.1.2', 'two closes', [bye, bye]],
    ['7.1.3', 'a ping behind a close', [bye, frameOf(PING)]],
    ['7.1.4', 'a message behind a close', [bye, text('late')]],
    ['7.1.5', 'a close within a message', [part(TEXT, 'a'), bye, part(CONT, 'b', true)]],
    ['7.1.6', 'a close behind much', [text('x'.repeat(262_144)), bye, frameOf(PING)]],
    ['7.3.1', 'a close without a payload', [close('')]],
    ['7.3.2', 'a close with half a code', [close(bytes(3))]],
    ['7.3.3', 'a close with a code', [close(closePayload(1000))]],
    ['7.3.4', 'a close with a reason', [close(closePayload(1000, 'Hello World!'))]],
    ['7.3.5', 'a close with the longest reason', [close(closePayload(1000, '*'.repeat(123)))]],
    ['7.3.6', 'a close with a reason too long', [close(closePayload(1000, '*'.repeat(124)))]],
    [
      '7.5.1',
      'a reason that is not UTF-8',
      [close(closePayload(1000, bytes(0xce, 0xba, 0xed, 0xa0, 0x80)))],
    ],
  ];
  const codes: Case[] = [
    ...[
      1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
      4999,
    ],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535],
  ].flatMap((code): Case[] => [
    ['7.7', `close code ${code}`, [close(closePayload(code))]],
    ['7.9', `close code ${code} with a reason`, [close(closePayload(code, 'why'))]],
  ]);

  const limits: Case[] = [
    ...[65_536, 262_144, 1_048_576].flatMap((length): Case[] => [
      ['9.1', `text of ${length} bytes`, [text('*'.repeat(length)), bye]],
      [
        '9.2',
        `binary of ${length} bytes`,
        [frameOf(BINARY, { payload: Buffer.alloc(length, 1) }), bye],
      ],
    ]),
    ['9.2', '16 MiB', [frameOf(BINARY, { payload: Buffer.alloc(16_777_216, 1) }), bye]],
    ...[64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304].flatMap(
      (size): Case[] => [
        [
          '9.3',
          `4 MiB of text in frames of ${size} bytes`,
          [Buffer.concat(fragments(TEXT, FOUR_MEGABYTES, size)), bye],
        ],
        [
          '9.4',
          `4 MiB in frames of ${size} bytes`,
          [Buffer.concat(fragments(BINARY, FOUR_MEGABYTES, size)), bye],
        ],
      ],
    ),
    ...[256, 1_024, 65_536].flatMap((size): Case[] => [
      [
        '9.5',
        `text in writes of ${size} bytes`,
        cut([text('*'.repeat(size === 256 ? 262_144 : 1_048_576)), bye], size),
      ],
      [
        '9.6',
        `bytes in writes of ${size} bytes`,
        cut(
          [frameOf(BINARY, { payload: Buffer.alloc(size === 256 ? 262_144 : 1_048_576, 3) }), bye],
          size,
        ),
      ],
    ]),
    ...[0, 16, 64, 256, 1_024, 4_096].flatMap((length): Case[] => [
      ['9.7', `1,000 texts of ${length} bytes`, [...many(TEXT, length), bye]],
      ['9.8', `1,000 messages of ${length} bytes`, [...many(BINARY, length), bye]],
    ]),
    [
      '10.1',
      '65,536 bytes in frames of 1,300',
      [...fragments(TEXT, Buffer.alloc(65_536, '*'), 1_300), bye],
    ],
  ];

  /** What the suite does not ask, and rows 36 to 40 do. */
  const heads: Case[] = [
    [
      '36',
      'a frame masked against the rule',
      [frameOf(TEXT, { payload: 'x', mask: wrongMask }), bye],
    ],
    [
      '36',
      'a length of 5 in two bytes',
      [frameOf(TEXT, { payload: 'short', lengthBytes: 2 }), bye],
    ],
    [
      '36',
      'a length of 5 in eight bytes',
      [frameOf(TEXT, { payload: 'short', lengthBytes: 8 }), bye],
    ],
    [
      '36',
      'a ping with its length in two bytes',
      [frameOf(PING, { payload: 'p', lengthBytes: 2 }), bye],
    ],
    ['39', 'a length beyond 2^53', [frameOf(BINARY, { payload: 'x', claims: 2n ** 53n + 1n })]],
    [
      '39',
      'a length with its highest bit',
      [frameOf(BINARY, { payload: 'x', claims: 2n ** 63n + 1n })],
    ],
    [
      '39',
      'a length of 1 TB and a few bytes',
      [frameOf(BINARY, { payload: 'x', claims: 2n ** 40n })],
    ],
    ['39', 'half a frame', [text('cut in the middle').subarray(0, 9)]],
    ['39', 'half a head', [text('x').subarray(0, 1)]],
    ['39', 'nothing', []],
  ];

  return [
    ...frames,
    ...pings,
    ...reservedBits,
    ...opcodes,
    ...fragmentation,
    ...utf8,
    ...utf8Edges,
    ...emptyAndBroken,
    ...closing,
    ...codes,
    ...limits,
    ...heads,
  ];
}

/** Bytes from one to another in hex, each with what stands behind it. */
function range(first: number, last: number, behind = ''): string {
  const all = Array.from({ length: last - first + 1 }, (_, i) => (first + i).toString(16) + behind);
  return all.join('');
}

/** Cut into writes of `size` bytes. */
function cut(frames: readonly Uint8Array[], size: number): Buffer[] {
  const all = Buffer.concat(frames);
  const pieces: Buffer[] = [];
  for (let at = 0; at < all.length; at += size) pieces.push(all.subarray(at, at + size));
  return pieces;
}

/** Cut at these two places. */
function cutAt(all: Buffer, one: number, other: number): Buffer[] {
  return [all.subarray(0, one), all.subarray(one, other), all.subarray(other)];
}

function twice(frames: () => Buffer[]): Buffer[] {
  return [...frames(), ...frames()];
}
