using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>
/// Directories of which the node knows every name: those it made, and those it has listed from beginning to end. That a name is not there is answered from here,
/// so that making a file costs no question whether there is one.
/// </summary>
/// <remarks>
/// Only hashes are kept, of all names that may be there: one too many costs a question, one too few would be a lie. So a name is added before this node asks for it
/// to be made (and again when that is answered: a listing may have begun meanwhile) and when another node has changed it, and removed when the server has answered
/// that it is gone. A directory that another node has removed was empty, and no name is found in it any more.
/// </remarks>
public sealed class KnownNames(LeaseTable leases, Func<int> leaseMs, TimeProvider time)
{
    /// <summary>All names together, some 10 MB; when there are more, all are forgotten.</summary>
    private const int Max = 1 << 18;

    private const int MaxDirectories = 1 << 12;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Directory> _directories = [];
    private int _names;

    /// <summary>Whether a name is certainly not there, and what may be told the kernel of that.</summary>
    public bool IsAbsent(ulong parent, ReadOnlySpan<byte> name, out LeaseOffer offer)
    {
        // Here and in the kernel together it is used no longer than the lease lasts.
        offer = leases.Ask();
        lock (_lock)
        {
            if (_directories.TryGetValue(parent, out var directory) && directory.IsComplete && directory.UntilMs - offer.AskedMs is > 0 and var leftMs
                && !directory.Names.Contains(NameHash.Wide(name)))
            {
                offer = offer.With(directory.Granted) with { MaxMs = (int)leftMs };
                return true;
            }
        }

        return false;
    }

    /// <summary>A directory was made by this node, which the server has granted it the names of: there are none.</summary>
    public void Made(ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        if ((granted & FrameFlags.AttributesLeased) == 0)
        {
            return;
        }

        lock (_lock)
        {
            if (!leases.IsOvertaken(asked, ino))
            {
                var directory = Add(ino, asked, FrameFlags.NamesSole);
                directory.IsComplete = true;
            }
        }
    }

    /// <summary>The server has answered something about a name of the directory: its lease of the names is as new as the question.</summary>
    /// <remarks>A lease that may have ended meanwhile does not go on: what others changed in between was told nobody here.</remarks>
    public void Extend(ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        var names = granted & (FrameFlags.NamesSole | FrameFlags.NamesShared);
        lock (_lock)
        {
            if (names == FrameFlags.None || !_directories.TryGetValue(ino, out var directory))
            {
                return;
            }

            if (directory.UntilMs < asked.AskedMs || asked.AskedMs + Limits.LeaseAnswerMs < time.NowMs())
            {
                Remove(ino);
                return;
            }

            directory.UntilMs = Math.Max(directory.UntilMs, asked.AskedMs + leaseMs());
            directory.Granted = names;
        }
    }

    /// <summary>The node listed a part of a directory.</summary>
    /// <param name="ino">The directory.</param>
    /// <param name="asked">When it asked.</param>
    /// <param name="granted">What may be cached of the answer.</param>
    /// <param name="from">The cookie that the part begins after; 0 for the beginning.</param>
    /// <param name="to">The last cookie of the part; the same as <paramref name="from"/> when it is empty.</param>
    /// <param name="isEnd">Whether the directory ends there.</param>
    /// <param name="names">The names.</param>
    public void Listed(ulong ino, in LeaseOffer asked, FrameFlags granted, ulong from, ulong to, bool isEnd, IEnumerable<ReadOnlyMemory<byte>> names)
    {
        if ((granted & (FrameFlags.NamesSole | FrameFlags.NamesShared)) == 0)
        {
            return;
        }

        lock (_lock)
        {
            var directory = _directories.GetValueOrDefault(ino);
            if (directory is { IsComplete: true } && directory.UntilMs >= asked.AskedMs)
            {
                Extend(ino, asked, granted);
                return;
            }

            if (from == 0)
            {
                // What is made or changed from now on is added; before that nothing was asked.
                Remove(ino);
                if (leases.IsOvertaken(asked, ino))
                {
                    return;
                }

                directory = Add(ino, asked, granted);
            }
            else if (directory is null || directory.ListedTo != from || directory.UntilMs < asked.AskedMs)
            {
                return;
            }

            foreach (var name in names)
            {
                Add(directory, NameHash.Wide(name.Span));
            }

            directory.ListedTo = to;
            directory.IsComplete = isEnd;
        }
    }

    /// <summary>A name may be there from now on: this node is about to ask for it, or another node has changed it.</summary>
    public void MayExist(ulong parent, ReadOnlySpan<byte> name)
    {
        lock (_lock)
        {
            if (_directories.TryGetValue(parent, out var directory))
            {
                Add(directory, NameHash.Wide(name));
            }
        }
    }

    /// <summary>The server has answered this node that it has removed a name. The kernel lets nobody here make it again meanwhile; another node may have.</summary>
    public void Removed(ulong parent, ReadOnlySpan<byte> name, in LeaseOffer asked)
    {
        lock (_lock)
        {
            if (_directories.TryGetValue(parent, out var directory) && !leases.IsOvertaken(asked, parent) && directory.Names.Remove(NameHash.Wide(name)))
            {
                _names--;
            }
        }
    }

    /// <summary>A directory is gone.</summary>
    public void Forget(ulong ino)
    {
        lock (_lock)
        {
            Remove(ino);
        }
    }

    /// <summary>Other nodes may have changed anything.</summary>
    public void ForgetEverything()
    {
        lock (_lock)
        {
            _directories.Clear();
            _names = 0;
        }
    }

    private Directory Add(ulong ino, in LeaseOffer asked, FrameFlags granted)
    {
        if (_directories.Count >= MaxDirectories)
        {
            _directories.Clear();
            _names = 0;
        }

        var directory = new Directory
        {
            UntilMs = asked.AskedMs + leaseMs(),
            Granted = granted & (FrameFlags.NamesSole | FrameFlags.NamesShared),
        };
        _directories[ino] = directory;
        return directory;
    }

    private void Add(Directory directory, ulong hash)
    {
        if (directory.Names.Add(hash) && ++_names > Max)
        {
            _directories.Clear();
            _names = 0;
        }
    }

    private void Remove(ulong ino)
    {
        if (_directories.Remove(ino, out var directory))
        {
            _names -= directory.Names.Count;
        }
    }

    private sealed class Directory
    {
        public readonly HashSet<ulong> Names = [];

        /// <summary>Whether all names are known; false while it is being listed.</summary>
        public bool IsComplete;

        /// <summary>Until when the names are leased, milliseconds of the monotonic clock.</summary>
        public long UntilMs;

        /// <summary>How they are leased.</summary>
        public FrameFlags Granted;

        /// <summary>How far the listing under way has come.</summary>
        public ulong ListedTo;
    }
}
