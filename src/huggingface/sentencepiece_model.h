// tokenizer.model of SentencePiece: a protobuf message ModelProto, of which a vocabulary needs the pieces and a few
// settings. Layout (sentencepiece_model.proto of SentencePiece):
//
//   ModelProto      1 pieces (SentencePiece, repeated)   2 trainer_spec   3 normalizer_spec
//   SentencePiece   1 piece (bytes)   2 score (fixed32)   3 type (varint; 1 normal, 2 unknown, 3 control,
//                   4 user defined, 5 unused, 6 byte)
//   TrainerSpec     3 model_type (varint; 1 unigram, 2 BPE, 3 words, 4 characters)
//   NormalizerSpec  3 add_dummy_prefix (varint)
//
// Fields come as varint tag (number * 8 + wire type: 0 varint, 1 fixed64, 2 length and bytes, 5 fixed32). Everything
// else is skipped. A reader of these wire types is what is needed of libprotobuf, and without generated code it is one
// class.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace steelyard::huggingface {

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    tokenizer::TokenType type = tokenizer::TokenType::kNormal;
  };
  std::vector<Piece> pieces;  ///< ids are their places
  bool add_dummy_prefix = true;
};

/// Error that names the file and the piece: a message that is cut off or none, a score that is no number, text that is
/// no UTF-8, types that do not exist, a model other than BPE, which the runtime would split otherwise.
SentencePieceModel read_sentencepiece_model(const std::string& path);

/// Whether the file may be one. A tokenizer.model may be tiktoken's as well, which is text.
bool looks_like_sentencepiece(const std::string& path);

}  // namespace steelyard::huggingface
