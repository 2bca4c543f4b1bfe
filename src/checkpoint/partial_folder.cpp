#include "partial_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <nvfp4/io.hpp>

#include "../io/descriptor.hpp"

namespace nvfp4 {
namespace fs = std::filesystem;
using io::FileError;
namespace {

constexpr const char* plan_file = ".plan";

[[noreturn]] void fail(const std::string& path, std::string_view expected) {
  throw FileError(path, "output", expected, std::strerror(errno));
}

std::string text_of(const std::string& path) {
  const io::Bytes bytes = io::read_bytes(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A folder of a checkpoint that this library wrote: what --force may replace.
bool is_our_checkpoint(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder + "/nvfp4_provenance.json", ignored)) return false;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
    if (!entry.is_regular_file(ignored)) return false;
  return true;
}

/// Temporaries of a run that was killed.
void remove_temporaries(const std::string& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".tmp") fs::remove(entry.path());
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

std::string file_state(const std::string& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) < 0) return path;
  return path + " " + std::to_string(s.st_size) + " " + std::to_string(s.st_mtim.tv_sec) + "." +
         std::to_string(s.st_mtim.tv_nsec) + "\n";
}

PartialFolder::PartialFolder(const CheckpointTarget& target, const std::string& fingerprint)
    : target_(without_slash(target.path)), partial_(target_ + ".partial"), overwrite_(target.overwrite) {
  refuse_target();
  std::error_code error;
  fs::create_directories(partial_, error);
  if (error) throw FileError(partial_, "output", "a folder that can be made", error.message());
  lock();
  const bool begun = fs::exists(file(plan_file)) && fs::file_size(file(plan_file)) > 0;
  if (target.resume && begun && text_of(file(plan_file)) != fingerprint)
    throw FileError(partial_, "--resume", "what was left by the same input, options and version",
                    "another run's");
  if (target.resume && begun) {
    remove_temporaries(partial_);
    return;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(partial_))
    if (entry.path().filename() != plan_file) fs::remove(entry.path());
  if (::pwrite(lock_, fingerprint.data(), fingerprint.size(), 0) != static_cast<ssize_t>(fingerprint.size()))
    fail(partial_, "a file to be written");
}

PartialFolder::~PartialFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void PartialFolder::refuse_target() const {
  std::error_code ignored;
  if (!fs::exists(target_, ignored)) return;
  if (overwrite_ == io::Overwrite::no)
    throw FileError(target_, "output", "no folder of that name, or leave to overwrite it", "one that exists");
  if (!is_our_checkpoint(target_))
    throw FileError(target_, "output", "a checkpoint that nvfp4 wrote, to be replaced", "something else");
}

void PartialFolder::lock() {
  lock_ = ::open(file(plan_file).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail(partial_, "a folder that can be written");
  if (::flock(lock_, LOCK_EX | LOCK_NB) < 0)
    throw FileError(partial_, "output", "no other run at work", "one");
}

bool PartialFolder::has(const std::string& name) const {
  std::error_code ignored;
  return fs::exists(file(name), ignored);
}

void PartialFolder::write(const std::string& name, const std::string& text) const {
  io::write_text(file(name), text, io::Overwrite::yes);
}

void PartialFolder::copy(const std::string& path) const {
  const std::string name = fs::path(path).filename().string();
  if (has(name)) return;
  io::OutputFile out(file(name), io::Overwrite::no);
  out.write(io::read_bytes(path).view());
  out.commit();
}

void PartialFolder::commit() {
  refuse_target();
  io::sync_folder(partial_);
  ::unlink(file(plan_file).c_str());
  const bool replaces = fs::exists(target_);
  const unsigned how = replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, target_.c_str(), how) < 0)
    fail(target_, "a folder that can be put in place");
  if (replaces) fs::remove_all(partial_);
  const fs::path parent = fs::path(target_).parent_path();
  io::sync_folder(parent.empty() ? "." : parent.string());
}

}  // namespace nvfp4
