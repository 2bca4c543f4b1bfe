#pragma once
#include <string>

#include <nvfp4/checkpoint.hpp>

namespace nvfp4 {

/// Name, size and time of change: a file of the same state has the same bytes.
std::string file_state(const std::string& path);

/// A folder that is built as PATH.partial and takes its place by commit(). What an interrupted run left there stays: its
/// files are whole, each having been renamed into place.
class PartialFolder {
 public:
  /// Begins anew, or goes on where target.resume. Throws io::FileError for a target that exists (unless it is to be
  /// overwritten and nvfp4 wrote it), for what was left by another plan, and where another process is at work.
  PartialFolder(const CheckpointTarget& target, const std::string& fingerprint);
  ~PartialFolder();
  PartialFolder(const PartialFolder&) = delete;

  std::string file(const std::string& name) const { return partial_ + "/" + name; }
  bool has(const std::string& name) const;
  void write(const std::string& name, const std::string& text) const;
  /// Of the input, under its own name, unless a file of that name is there.
  void copy(const std::string& path) const;
  /// Throws io::FileError where the target appeared meanwhile.
  void commit();

 private:
  void lock();
  void refuse_target() const;

  std::string target_, partial_;
  io::Overwrite overwrite_;
  int lock_ = -1;
};

}  // namespace nvfp4
