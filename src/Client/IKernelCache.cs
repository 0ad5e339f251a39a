namespace EphemeralFs.Client;

/// <summary>What the kernel of this node keeps of a volume, as the client sees it.</summary>
public interface IKernelCache
{
    /// <summary>Makes it drop cached pages and attributes of an inode; completes when it has.</summary>
    ValueTask InvalidateAsync(ulong ino);

    /// <summary>Makes it drop a name; completes when it has, or when that takes too long.</summary>
    ValueTask ForgetNameAsync(ulong parent, ReadOnlyMemory<byte> name);
}
