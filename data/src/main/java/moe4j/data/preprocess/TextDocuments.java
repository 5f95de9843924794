package moe4j.data.preprocess;

/** What a document is in a plain text file. */
public enum TextDocuments {
  /** The whole file, up to 1 GiB. */
  FILE,

  /**
   * The lines between blank lines, their line ends included; the blank lines belong to none. A file
   * of any size is read bit by bit.
   */
  PARAGRAPH
}
