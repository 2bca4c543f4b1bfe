#include <nvfp4/io/bytes.hpp>

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <nvfp4/io/error.hpp>

#include "descriptor.hpp"

namespace nvfp4::io {
namespace {

Bytes map(int fd, std::size_t size, const std::string& path) {
  if (size == 0) return {};
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) throw FileError(path, "file", "bytes that can be mapped", std::strerror(errno));
  const std::shared_ptr<const void> owner(address, [size](void* p) { ::munmap(p, size); });
  return {owner, {static_cast<const std::byte*>(address), size}, true};
}

Bytes spool(int fd, std::uint64_t limit, const std::string& path) {
  constexpr std::size_t piece = 1 << 20;
  std::vector<std::byte> all;
  for (std::size_t used = 0;;) {
    all.resize(used + piece);
    const ssize_t n = ::read(fd, all.data() + used, piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw FileError(path, "byte " + std::to_string(used), "more bytes", std::strerror(errno));
    used += static_cast<std::size_t>(n);
    if (used > limit) throw FileError(path, "pipe", "at most " + std::to_string(limit) + " bytes", "more");
    if (n == 0) {
      all.resize(used);
      return Bytes(std::move(all));
    }
  }
}

std::string hex(std::span<const unsigned char> digest) {
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

void Bytes::release() const {
  if (!mapped_) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data()), last = first + size();
  const std::uintptr_t begin = (first + page - 1) / page * page, end = last / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Bytes::Bytes(std::vector<std::byte> buffer) {
  const auto owned = std::make_shared<const std::vector<std::byte>>(std::move(buffer));
  view_ = *owned;
  owner_ = owned;
}

Bytes read_bytes(const std::string& path, std::uint64_t limit) {
  if (path == "-") return spool(STDIN_FILENO, limit, "stdin");
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) < 0)
    throw FileError(path, "file", "a readable file", std::strerror(errno));
  if (S_ISDIR(status.st_mode)) throw FileError(path, "file", "a readable file", "a directory");
  if (!S_ISREG(status.st_mode)) return spool(file.fd, limit, path);
  return map(file.fd, static_cast<std::size_t>(status.st_size), path);
}

std::string sha256(std::span<const std::byte> bytes) { return sha256_by_pieces(Bytes(nullptr, bytes)); }

std::string sha256_by_pieces(const Bytes& bytes) {
  constexpr std::size_t piece = std::size_t{16} << 20;
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  bool hashed = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  for (std::size_t at = 0; hashed && at < bytes.size(); at += piece) {
    const Bytes part = bytes.slice(at, std::min(piece, bytes.size() - at));
    hashed = EVP_DigestUpdate(context.get(), part.data(), part.size());
    part.release();
  }
  unsigned char digest[32];
  if (!hashed || !EVP_DigestFinal_ex(context.get(), digest, nullptr))
    throw std::runtime_error("libcrypto has no SHA-256");
  return hex(digest);
}

}  // namespace nvfp4::io
