// The C interface: each function checks its arguments, calls the C++ one and turns exceptions and statuses into codes.

#include <algorithm>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "runtime/lowbit.h"
#include "runtime/network.h"

struct lowbit_network {
  std::shared_ptr<const lowbit::IntegerNetwork> network;
};

struct lowbit_session {
  std::unique_ptr<lowbit::IntegerSession> session;
};

namespace {

constexpr int kMostThreads = 1024;

// Not std::string: setting it must not fail for want of memory.
thread_local char last_error[2048] = "";

lowbit_status Fail(lowbit_status code, absl::string_view message) {
  const size_t size = std::min(message.size(), sizeof(last_error) - 1);
  std::copy_n(message.data(), size, last_error);
  last_error[size] = '\0';
  return code;
}

lowbit_status Fail(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return Fail(LOWBIT_INVALID_ARGUMENT, status.message());
    case absl::StatusCode::kNotFound:
      return Fail(LOWBIT_NOT_FOUND, status.message());
    case absl::StatusCode::kResourceExhausted:
      return Fail(LOWBIT_OUT_OF_MEMORY, status.message());
    default:
      return Fail(LOWBIT_FAILED, status.message());
  }
}

// `function` returns absl::Status.
template <typename F>
lowbit_status Guard(const F& function) noexcept {
  try {
    const absl::Status status = function();
    return status.ok() ? LOWBIT_OK : Fail(status);
  } catch (const std::bad_alloc&) {
    return Fail(LOWBIT_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return Fail(LOWBIT_FAILED, error.what());
  } catch (...) {
    return Fail(LOWBIT_FAILED, "unknown exception");
  }
}

absl::Status IsNull(absl::string_view argument) {
  return absl::InvalidArgumentError(absl::StrCat(argument, " is NULL"));
}

template <typename Make>
lowbit_network* NewNetwork(const Make& make) noexcept {
  lowbit_network* made = nullptr;
  Guard([&] {
    absl::StatusOr<std::shared_ptr<const lowbit::IntegerNetwork>> network = make();
    if (network.ok()) made = new lowbit_network{*std::move(network)};
    return network.status();
  });
  return made;
}

}  // namespace

lowbit_network* lowbit_load(const char* path) {
  return NewNetwork([&]() -> absl::StatusOr<std::shared_ptr<const lowbit::IntegerNetwork>> {
    if (path == nullptr) return IsNull("path");
    return lowbit::IntegerNetwork::Load(path);
  });
}

lowbit_network* lowbit_parse(const void* bytes, int64_t size) {
  return NewNetwork([&]() -> absl::StatusOr<std::shared_ptr<const lowbit::IntegerNetwork>> {
    if (bytes == nullptr) return IsNull("bytes");
    if (size < 0) return absl::InvalidArgumentError(absl::StrCat("size: expected at least 0, got ", size));
    return lowbit::IntegerNetwork::Parse({static_cast<const char*>(bytes), static_cast<size_t>(size)}, "the model");
  });
}

void lowbit_network_free(lowbit_network* network) { delete network; }

lowbit_status lowbit_input_shape(const lowbit_network* network, lowbit_shape* shape) {
  return Guard([&] {
    if (network == nullptr) return IsNull("network");
    if (shape == nullptr) return IsNull("shape");
    *shape = {network->network->channels(), network->network->height(), network->network->width()};
    return absl::OkStatus();
  });
}

int64_t lowbit_outputs(const lowbit_network* network) {
  int64_t outputs = -1;
  Guard([&] {
    if (network == nullptr) return IsNull("network");
    outputs = network->network->outputs();
    return absl::OkStatus();
  });
  return outputs;
}

const char* lowbit_metadata(const lowbit_network* network, const char* key) {
  const char* text = nullptr;
  Guard([&] {
    if (network == nullptr) return IsNull("network");
    if (key == nullptr) return IsNull("key");
    const auto& metadata = network->network->metadata();
    const auto found = metadata.find(key);
    if (found == metadata.end()) return absl::NotFoundError(absl::StrCat("the model has no metadata \"", key, "\""));
    text = found->second.c_str();
    return absl::OkStatus();
  });
  return text;
}

lowbit_session* lowbit_session_create(const lowbit_network* network, int threads) {
  lowbit_session* made = nullptr;
  Guard([&] {
    if (network == nullptr) return IsNull("network");
    if (threads < 1 || threads > kMostThreads) {
      return absl::InvalidArgumentError(absl::StrCat("threads: expected 1 to ", kMostThreads, ", got ", threads));
    }
    made = new lowbit_session{std::make_unique<lowbit::IntegerSession>(network->network, threads)};
    return absl::OkStatus();
  });
  return made;
}

void lowbit_session_free(lowbit_session* session) { delete session; }

lowbit_status lowbit_run(lowbit_session* session, const float* images, int64_t count, float* outputs) {
  return Guard([&] {
    if (session == nullptr) return IsNull("session");
    if (images == nullptr) return IsNull("images");
    if (outputs == nullptr) return IsNull("outputs");
    return session->session->Run(images, count, outputs);
  });
}

lowbit_status lowbit_top_k(const float* outputs, int64_t count, int64_t k, int64_t* indices) {
  return Guard([&] {
    if (outputs == nullptr) return IsNull("outputs");
    if (indices == nullptr) return IsNull("indices");
    if (count < 0 || count > std::numeric_limits<int>::max() || k < 0 || k > count) {
      return absl::InvalidArgumentError(absl::StrCat("k must be in [0, count], got k ", k, " and count ", count));
    }
    const std::vector<int> best = lowbit::TopK(outputs, count, static_cast<int>(k));
    std::copy(best.begin(), best.end(), indices);
    return absl::OkStatus();
  });
}

const char* lowbit_last_error(void) { return last_error; }
