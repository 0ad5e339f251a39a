namespace EphemeralFs.Client;

/// <summary>What the kernel of this node keeps of a volume, as the client sees it.</summary>
public interface IKernelCache
{
    /// <summary>Makes it drop cached pages and attributes of an inode; completes when it has.</summary>
    ValueTask InvalidateAsync(ulong ino);

    /// <summary>Makes it drop a name; completes when it has, or when that takes too long.</summary>
    ValueTask ForgetNameAsync(ulong parent, ReadOnlyMemory<byte> name);

    /// <summary>Makes it ask for a name again; completes when it will, at the latest when what it was told of the name has expired.</summary>
    /// <param name="parent">Directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="untilMs">Until when it may use what it was told, milliseconds of the monotonic clock.</param>
    /// <param name="expireOnly">The name may still be right: what is mounted on it stays. Not for names that may be looked up just now.</param>
    ValueTask RecallNameAsync(ulong parent, ReadOnlyMemory<byte> name, long untilMs, bool expireOnly);

    /// <summary>Makes it ask for attributes again; completes when it will.</summary>
    ValueTask RecallAttributesAsync(ulong ino);

    /// <summary>The paths at which programs have these inodes open, as far as that can be found out.</summary>
    IReadOnlyDictionary<ulong, string> FindPaths(IReadOnlySet<ulong> inodes);
}
