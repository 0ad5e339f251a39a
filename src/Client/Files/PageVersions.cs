namespace EphemeralFs.Client.Files;

/// <summary>
/// With which version of a closed file's bytes the pages agree that the kernel may still have of it. Whoever opens the file again and finds that version
/// may use them; versions never come again.
/// </summary>
internal sealed class PageVersions
{
    /// <summary>More files are not remembered: their pages are dropped at the next open.</summary>
    private const int Max = 1 << 16;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, ulong> _versions = [];

    /// <summary>The file is closed; a version of 0 says that nothing is known.</summary>
    public void Keep(ulong ino, ulong version)
    {
        lock (_lock)
        {
            if (version == 0)
            {
                _versions.Remove(ino);
                return;
            }

            if (_versions.Count >= Max)
            {
                _versions.Clear();
            }

            _versions[ino] = version;
        }
    }

    /// <summary>Nothing is known any more.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _versions.Clear();
        }
    }

    /// <summary>The version, 0 when it is not known. An open file has its own (<see cref="FileNode.PagesVersion"/>).</summary>
    public ulong Take(ulong ino)
    {
        lock (_lock)
        {
            return _versions.Remove(ino, out var version) ? version : 0;
        }
    }
}
