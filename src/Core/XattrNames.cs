namespace EphemeralFs.Core;

/// <summary>Which names of extended attributes there are, xattr(7).</summary>
public static class XattrNames
{
    /// <summary>EOPNOTSUPP for a namespace other than user, trusted and security (ACLs, <c>system.</c>, are not kept); EINVAL for a prefix without a name or a NUL in it.</summary>
    public static Errno Check(ReadOnlySpan<byte> name)
    {
        var prefix = name.StartsWith("user."u8) ? 5
            : name.StartsWith("trusted."u8) ? 8
            : name.StartsWith("security."u8) ? 9
            : 0;
        return prefix == 0 ? Errno.EOPNOTSUPP
            : name.Length == prefix || name.Contains((byte)0) ? Errno.EINVAL
            : Errno.OK;
    }
}
