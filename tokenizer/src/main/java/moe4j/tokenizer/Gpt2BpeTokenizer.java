package moe4j.tokenizer;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import com.knuddels.jtokkit.api.IntArrayList;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;

/**
 * GPT-2's byte-pair encoding, 50257 ids of which 50256 is the end of document. A text that spells
 * {@code <|endoftext|>} is cut like any other: only {@link #eod} ends documents.
 *
 * <p>jtokkit merges; most pieces of a text have been merged before and are remembered.
 */
final class Gpt2BpeTokenizer implements Tokenizer {
  static final String EOD_TEXT = "<|endoftext|>";

  private static final int EOD = 50256;
  private static final int REMEMBERED_BITS = 17;
  private static final int LONGEST_REMEMBERED = 64;

  /** A piece and its tokens; final fields, so that threads may race to store one. */
  private static final class Merged {
    final String piece;
    final int[] tokens;

    Merged(String piece, int[] tokens) {
      this.piece = piece;
      this.tokens = tokens;
    }
  }

  private final Encoding bpe =
      Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);
  private final byte[][] bytes = new byte[EOD + 1][];
  private final Merged[] merged = new Merged[1 << REMEMBERED_BITS];
  private final String vocabFile;
  private final String mergeFile;

  private Gpt2BpeTokenizer(Path vocabFile, Path mergeFile) {
    this.vocabFile = vocabFile == null ? null : vocabFile.toString();
    this.mergeFile = mergeFile == null ? null : mergeFile.toString();
    IntArrayList one = new IntArrayList(1);
    one.add(0);
    for (int token = 0; token < EOD; token++) {
      one.set(0, token);
      bytes[token] = bpe.decodeBytes(one);
    }
    bytes[EOD] = EOD_TEXT.getBytes(StandardCharsets.UTF_8);
  }

  /**
   * The tokenizer needs no files; those given must hold the same vocabulary.
   *
   * @param vocabFile {@code --vocab-file} or null
   * @param mergeFile {@code --merge-file} or null
   */
  static Gpt2BpeTokenizer of(Path vocabFile, Path mergeFile) throws IOException {
    Gpt2BpeTokenizer tokenizer = new Gpt2BpeTokenizer(vocabFile, mergeFile);
    Gpt2Files files = new Gpt2Files(tokenizer.tokenBytes());
    if (vocabFile != null) {
      files.checkVocabulary(vocabFile);
    }
    if (mergeFile != null) {
      files.checkMerges(mergeFile);
    }
    return tokenizer;
  }

  /** The bytes of each token, by id. */
  byte[][] tokenBytes() {
    return bytes;
  }

  @Override
  public int[] encode(String unchecked) {
    String text = Utf16.wellFormed(unchecked);
    int[] tokens = new int[text.length() / 4 + 16];
    int count = 0;
    for (int start = 0, end; start < text.length(); start = end) {
      end = Gpt2Pieces.end(text, start);
      int[] piece = merge(text, start, end);
      if (count + piece.length > tokens.length) {
        tokens = Arrays.copyOf(tokens, Math.max(count + piece.length, tokens.length / 2 * 3));
      }
      // Most pieces are one token: a loop is faster than a call of arraycopy.
      for (int token : piece) {
        tokens[count++] = token;
      }
    }
    return Arrays.copyOf(tokens, count);
  }

  private int[] merge(String text, int start, int end) {
    if (end - start > LONGEST_REMEMBERED) {
      return bpe.encodeOrdinary(text.substring(start, end)).toArray();
    }
    int hash = 0;
    for (int i = start; i < end; i++) {
      hash = 31 * hash + text.charAt(i);
    }
    int slot = (hash * 0x9E3779B9) >>> (32 - REMEMBERED_BITS);
    Merged known = merged[slot];
    if (known == null
        || known.piece.length() != end - start
        || !text.startsWith(known.piece, start)) {
      String piece = text.substring(start, end);
      known = new Merged(piece, bpe.encodeOrdinary(piece).toArray());
      merged[slot] = known;
    }
    return known.tokens;
  }

  @Override
  public String decode(int[] tokens) {
    Vocabulary.check(tokens, vocabSize());
    ByteArrayOutputStream text = new ByteArrayOutputStream(tokens.length * 4);
    for (int token : tokens) {
      text.write(bytes[token], 0, bytes[token].length);
    }
    return text.toString(StandardCharsets.UTF_8);
  }

  @Override
  public int vocabSize() {
    return EOD + 1;
  }

  @Override
  public int eod() {
    return EOD;
  }

  @Override
  public int pad() {
    return -1;
  }

  @Override
  public Map<String, Object> identity() {
    return Collections.unmodifiableMap(
        Vocabulary.identity("_GPT2BPETokenizer", vocabFile, mergeFile));
  }
}
