namespace EphemeralFs.Tests.Model.Native;

/// <summary>Names of Linux error numbers (errno(3)).</summary>
public static class Errors
{
    private static readonly Dictionary<int, string> Names = new()
    {
        [0] = "OK", [1] = "EPERM", [2] = "ENOENT", [4] = "EINTR", [5] = "EIO", [6] = "ENXIO", [7] = "E2BIG", [9] = "EBADF", [11] = "EAGAIN",
        [12] = "ENOMEM", [13] = "EACCES", [14] = "EFAULT", [15] = "ENOTBLK", [16] = "EBUSY", [17] = "EEXIST", [18] = "EXDEV", [19] = "ENODEV",
        [20] = "ENOTDIR", [21] = "EISDIR", [22] = "EINVAL", [23] = "ENFILE", [24] = "EMFILE", [25] = "ENOTTY", [26] = "ETXTBSY", [27] = "EFBIG",
        [28] = "ENOSPC", [29] = "ESPIPE", [30] = "EROFS", [31] = "EMLINK", [32] = "EPIPE", [34] = "ERANGE", [35] = "EDEADLK",
        [36] = "ENAMETOOLONG", [37] = "ENOLCK", [38] = "ENOSYS", [39] = "ENOTEMPTY", [40] = "ELOOP", [61] = "ENODATA", [75] = "EOVERFLOW",
        [95] = "EOPNOTSUPP", [103] = "ECONNABORTED", [107] = "ENOTCONN", [110] = "ETIMEDOUT", [116] = "ESTALE", [122] = "EDQUOT",
    };

    /// <summary>The symbol, or the number if it has none here.</summary>
    public static string Name(int errno) => Names.TryGetValue(errno, out string? name) ? name : $"errno {errno}";
}
