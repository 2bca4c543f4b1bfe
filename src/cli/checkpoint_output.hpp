#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// --shard-size, --resume: how a whole checkpoint is written.
struct CheckpointOutput {
  std::uint64_t shard_bytes = CheckpointTarget{}.shard_bytes;
  bool resume = false;
  CheckpointTarget target(const std::string& path, bool force) const;
};
void declare_checkpoint_output(CLI::App&, CheckpointOutput&);

/// A line on stderr, where that is a terminal: how much, how fast, how long yet, and which tensor.
CheckpointWatch checkpoint_watch(const std::string& verb);

/// "did" is "quantized" or "converted". The kept matrices are counted by their reason.
Outcome checkpoint_report(const std::string& in, const std::string& out, const std::string& did,
                          const CheckpointSummary&);

/// A folder, or an index of shards: a checkpoint in any case.
bool has_shards(const std::string& path);
/// A quantized tensor, or a stack, of this program's own form.
bool holds_quantized(const io::ArrayFile&);
/// A .safetensors or .gguf that holds none.
bool is_checkpoint(const io::ArrayFile&);

/// "modelopt|compressed-tensors|...", for help and messages.
std::string format_names();

}  // namespace nvfp4::cli
