#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace nvfp4 {

/// Does one thing after another in a thread of its own, so that the disk writes while the next tensor is made. Holds
/// two waiting things at most: memory stays bounded.
class Background {
 public:
  Background() : thread_([this] { work(); }) {}
  ~Background();
  /// Waits for a place. Throws what an earlier thing threw; nothing is done after that.
  void push(std::function<void()>);
  /// All is done. Throws as push().
  void finish();

 private:
  void work();
  void rethrow();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool busy_ = false, ending_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace nvfp4
