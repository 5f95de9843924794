package moe4j.data;

/** Sequences of tokens, numbered from 0. */
interface TokenSource {
  /** How many sequences there are. */
  int sequences();

  /** Tokens of a sequence. */
  int length(int sequence);

  /** Copies tokens {@code offset..offset+count-1} of a sequence to {@code dst[at..]}. */
  void get(int sequence, int offset, int count, long[] dst, int at);

  /** Where a sequence is found, for messages: file, document and sequence. */
  String where(int sequence);
}
