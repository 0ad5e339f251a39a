using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.CsiDriver.Cluster;

/// <summary>The one map from the status of our own frames to gRPC.</summary>
internal static class StatusMapping
{
    /// <summary>The exception that a call fails with; the CSI specification says which codes are tried again ("Error Scheme").</summary>
    public static GrpcException ToGrpc(this Status status, string message) => new(CodeOf(status), message);

    private static GrpcStatusCode CodeOf(Status status) => status switch
    {
        Status.NoSuchVolume => GrpcStatusCode.NotFound,
        Status.VolumeExists => GrpcStatusCode.AlreadyExists,
        Status.VolumeBusy => GrpcStatusCode.FailedPrecondition,
        Status.Unavailable or Status.NoSuchServer => GrpcStatusCode.Unavailable,
        Status.Canceled => GrpcStatusCode.Aborted,
        _ when status == Errno.EINVAL.ToStatus() || status == Errno.ENOENT.ToStatus() || status == Errno.ENOTDIR.ToStatus() => GrpcStatusCode.InvalidArgument,
        _ when status == Errno.EEXIST.ToStatus() => GrpcStatusCode.AlreadyExists,
        _ when status == Errno.EBUSY.ToStatus() || status == Errno.ENOTEMPTY.ToStatus() => GrpcStatusCode.FailedPrecondition,
        _ when status == Errno.ENOSPC.ToStatus() => GrpcStatusCode.ResourceExhausted,
        _ when status == Errno.EACCES.ToStatus() || status == Errno.EPERM.ToStatus() => GrpcStatusCode.PermissionDenied,
        _ => GrpcStatusCode.Internal,
    };
}
