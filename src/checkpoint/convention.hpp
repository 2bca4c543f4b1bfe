#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "weight.hpp"

namespace nvfp4 {

/// A tensor to be written. `block_type` is a GGUF type of packed blocks, and info then its bytes.
struct OutputTensor {
  io::ArrayInfo info;
  std::string_view block_type = {};
  Shape shape = info.shape;  ///< of elements
};

/// What a convention's documents say of a checkpoint.
struct Description {
  std::vector<Weight> weights;
  std::vector<std::string> kept;    ///< modules whose matrices are in high precision, sorted
  std::vector<std::string> copied;  ///< tensors that are no weights of these
};

/// One way in which checkpoints hold block-scaled weights. Each is one file here and one line of conventions().
struct Convention {
  std::string_view name;    ///< of --format
  std::string_view file;    ///< container() of its files: "safetensors" or "gguf"
  const Dialect* producer;  ///< quantizes its weights where no other is asked for, and says how they decode
  ScaleUse use;             ///< of its second-level scales

  /// Its documents, metadata or types are there.
  bool (*declared)(const Checkpoint&);
  /// Weights whose tensors are all there, with the types and shapes that it wants. lint names what is left over.
  std::vector<Weight> (*find)(const Checkpoint&);
  StoredWeight (*load)(const Checkpoint&, const Weight&);
  /// FP32 values of one matrix (an expert) by the arithmetic of the convention's own loader, before its last rounding.
  Matrix (*decode)(const StoredWeight&, std::int64_t expert, const Kernels&);

  /// What of this weight has no place in the convention, to be read after its name; empty where all has.
  std::string (*obstacle)(const Weight&);
  /// What a weight without obstacle becomes, wide elements first; store() gives their bytes in this order.
  std::vector<OutputTensor> (*parts)(const Weight&);
  std::vector<io::Bytes> (*store)(const StoredWeight&);

  /// Takes its own words out of the documents and metadata; declare() puts them in.
  void (*undeclare)(Documents&, io::Metadata&);
  void (*declare)(const Description&, Documents&, io::Metadata&);
  /// It says of tensors how they lie, so that from its own files, too, it is written anew.
  bool declares_from_itself = false;

  /// Ends of the names of tensors that only its loaders understand. One that is no part of a weight found here is part of
  /// a value that is not known, or (a companion) of something else.
  std::span<const std::string_view> factors = {}, companions = {};
};

extern const Convention modelopt_convention, compressed_tensors_convention, torchao_convention,
    gguf_convention, mxfp4_convention, auto_round_convention;

std::span<const Convention* const> conventions();
/// Throws std::invalid_argument where there is none of that name.
const Convention& convention_named(std::string_view name);
/// A checkpoint's own convention: the one that is declared, else the one that finds most. Null where none finds any.
struct OwnWeights {
  const Convention* convention = nullptr;
  std::vector<Weight> weights = {};
};
OwnWeights own_weights(const Checkpoint&);

/// The weight by the convention's dialect, one matrix (an expert) of it.
BlockScaledTensor block_scaled(const StoredWeight&, const Dialect&, std::int64_t expert = 0);
/// A quantized tensor as a checkpoint keeps it, its second-level scale in the weight's direction.
StoredWeight stored(BlockScaledTensor, const Weight&);

}  // namespace nvfp4
