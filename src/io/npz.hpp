#pragma once
#include <map>
#include <memory>

#include <nvfp4/io/array.hpp>

struct zip;

namespace nvfp4::io {

/// A zip of .npy members, stored or deflated; other members are passed over. Nothing is inflated before it
/// is asked for. Not for use by two threads at once.
class Npz final : public ArrayFile {
 public:
  Npz(Bytes, std::string file);

  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return members_.contains(name); }
  ArrayInfo info(std::string_view name) const override;
  Array read(std::string_view name) const override;
  std::string_view container() const override { return "npz"; }

 private:
  struct Member {
    std::uint64_t index, size;
  };
  void list();
  const Member& member(std::string_view name) const;
  /// The first `size` bytes; all of them means that the CRC is checked too.
  std::vector<std::byte> inflate(std::string_view name, const Member&, std::uint64_t size) const;

  Bytes bytes_;
  std::unique_ptr<zip, void (*)(zip*)> zip_;
  std::map<std::string, Member, std::less<>> members_;
  std::vector<std::string> names_;
};

bool is_zip(std::span<const std::byte> beginning);

}  // namespace nvfp4::io
