namespace EphemeralFs.Client.Namespace;

/// <summary>
/// What a look-up is for. The kernel does not say (fs/fuse has the intent of an open only where it may create); but a directory in which the files that were looked
/// up last have been opened is one in which the next one will be.
/// </summary>
public sealed class LookupIntents
{
    private const int Directories = 64;

    private const int Recent = 64;

    /// <summary>So many look-ups in a directory may wait for their open, of programs that run at the same time; more, and they are for something else.</summary>
    private const int UnopenedMax = 4;

    private readonly Lock _lock = new();
    private readonly Directory[] _directories = new Directory[Directories];
    private readonly (ulong Ino, ulong Parent)[] _recent = new (ulong, ulong)[Recent];
    private int _next;

    /// <summary>Whether a look-up in the directory is expected to be for an open.</summary>
    public bool ExpectsOpen(ulong parent)
    {
        lock (_lock)
        {
            ref var directory = ref _directories[parent % Directories];
            return directory.Ino == parent && directory.IsOpenedIn && directory.Unopened < UnopenedMax;
        }
    }

    /// <summary>The server was asked for a name, which is that of a regular file.</summary>
    public void LookedUp(ulong parent, ulong ino)
    {
        lock (_lock)
        {
            ref var directory = ref _directories[parent % Directories];
            if (directory.Ino != parent)
            {
                directory = new Directory { Ino = parent };
            }

            directory.Unopened++;
            _recent[_next++ % Recent] = (ino, parent);
        }
    }

    /// <summary>A program opens a file for reading.</summary>
    public void Opened(ulong ino)
    {
        lock (_lock)
        {
            foreach (ref var recent in _recent.AsSpan())
            {
                if (recent.Ino == ino)
                {
                    ref var directory = ref _directories[recent.Parent % Directories];
                    if (directory.Ino == recent.Parent)
                    {
                        (directory.IsOpenedIn, directory.Unopened) = (true, 0);
                    }

                    recent = default;
                    return;
                }
            }
        }
    }

    private struct Directory
    {
        public ulong Ino;
        public bool IsOpenedIn;
        public int Unopened;
    }
}
