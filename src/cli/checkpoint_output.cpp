#include "checkpoint_output.hpp"

#include <chrono>
#include <cstdio>
#include <filesystem>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>

#include "number.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// "1.2 GB/s, 0:42 left"; nothing before there is a rate.
std::string pace(std::int64_t done, std::int64_t total, Clock::time_point begun) {
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  if (seconds < 0.5 || done == 0) return "";
  const double rate = static_cast<double>(done) / seconds;
  const auto left = static_cast<int>(static_cast<double>(total - done) / rate);
  char text[64];
  std::snprintf(text, sizeof text, "%.2f GB/s, %d:%02d left  ", rate * 1e-9, left / 60, left % 60);
  return text;
}

}  // namespace

CheckpointTarget CheckpointOutput::target(const std::string& path, bool force) const {
  return {path, force ? io::Overwrite::yes : io::Overwrite::no, resume, shard_bytes};
}

void declare_checkpoint_output(CLI::App& app, CheckpointOutput& o) {
  app.add_option("--shard-size", o.shard_bytes,
                 "of a checkpoint that is a folder: bytes of a file, as 2GB or 500MB")
      ->transform(CLI::AsSizeValue(true))
      ->default_str("2GB");
  app.add_flag("--resume", o.resume, "go on with the folder that an interrupted run left as OUT.partial");
}

CheckpointWatch checkpoint_watch(const std::string& verb) {
  const auto progress = std::make_shared<Progress>(verb);
  return [progress, begun = Clock::now()](const CheckpointProgress& p) {
    progress->show(p.bytes_done, p.bytes_total,
                   pace(p.bytes_done, p.bytes_total, begun) + std::string(p.tensor));
  };
}

Outcome checkpoint_report(const std::string& in, const std::string& out, const std::string& did,
                          const CheckpointSummary& s) {
  Outcome outcome;
  outcome.to_stdout = out == "-";
  outcome.json = {{"input", in},
                  {"output", out},
                  {did, s.quantized},
                  {"copied", s.copied},
                  {"parameters", s.parameters},
                  {"bits_per_parameter", s.bits_per_parameter()},
                  {"bits_per_quantized_parameter", s.bits_per_quantized_parameter()}};
  std::map<std::string, std::int64_t> reasons;
  outcome.json["kept"] = Json::array();
  for (const KeptTensor& kept : s.kept) {
    outcome.json["kept"].push_back({{"name", kept.name}, {"reason", kept.reason}});
    ++reasons[kept.reason];
  }
  outcome.text = out + ": " + std::to_string(s.quantized) + " tensors " + did + ", " +
                 std::to_string(s.copied) + " copied; " + fixed(s.bits_per_parameter(), 3) +
                 " bits per parameter of " + std::to_string(s.parameters) + " (" +
                 fixed(s.bits_per_quantized_parameter(), 3) + " where " + did + ")\n";
  for (const auto& [reason, count] : reasons)
    outcome.text += "  kept as they are: " + std::to_string(count) +
                    (count == 1 ? " matrix, " : " matrices, ") + reason + "\n";
  return outcome;
}

bool has_shards(const std::string& path) {
  std::error_code ignored;
  return path.ends_with(".safetensors.index.json") ||
         (path != "-" && std::filesystem::is_directory(path, ignored));
}

bool holds_quantized(const io::ArrayFile& file) {
  return file.contains("manifest") && file.contains("packed");
}

bool is_checkpoint(const io::ArrayFile& file) {
  return (file.container() == "safetensors" || file.container() == "gguf") && !holds_quantized(file);
}

std::string format_names() {
  std::string names;
  for (const std::string_view name : checkpoint_formats())
    names += (names.empty() ? "" : "|") + std::string(name);
  return names;
}

}  // namespace nvfp4::cli
