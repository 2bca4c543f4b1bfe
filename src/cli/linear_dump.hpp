#pragma once
#include <filesystem>
#include <string>

#include <nvfp4/io/output.hpp>
#include <nvfp4/linear.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// What a dump's manifest says beside the terms.
struct DumpHead {
  Json recipe, provenance;
  std::uint64_t seed = 0;
};

/// A folder that appears whole or not at all: made beside its target, and removed unless commit() renames it.
class DumpFolder {
 public:
  /// Throws UsageError for an existing target, unless that is a dump and may be overwritten.
  DumpFolder(const std::string& target, io::Overwrite);
  ~DumpFolder();
  DumpFolder(const DumpFolder&) = delete;
  DumpFolder& operator=(const DumpFolder&) = delete;

  std::string path(const std::string& name) const { return temporary_ / name; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
};

/// Golden values: manifest.json, and each operand, term and output of the three products in a file of its own.
void write_dump(const DumpFolder&, const LinearResult&, const Recipe&, const DumpHead&, const Kernels&);

}  // namespace nvfp4::cli
