/**
 * Transformer-XL's data: byte corpora held in memory as streams of symbols ({@link
 * moe4j.data.stream.ByteCorpus}), two vocabularies for them ({@link
 * moe4j.data.stream.ByteVocabulary}), segments that follow one another column by column ({@link
 * moe4j.data.stream.SegmentDataset}), and enwik8 itself ({@link moe4j.data.stream.Enwik8}).
 */
package moe4j.data.stream;
