using System.Globalization;

namespace EphemeralFs.Interop;

/// <summary>Who a thread is when it calls a file system: proc_pid_status(5), user_namespaces(7).</summary>
public sealed class ThreadIdentity
{
    private const int Chown = 0, Fowner = 3, SysAdmin = 21; // capabilities(7)

    private readonly HashSet<uint> _groups;
    private readonly ulong _capabilities;

    private ThreadIdentity(uint user, uint mappedUser, HashSet<uint> groups, ulong capabilities, bool isInOurNamespace)
    {
        User = user;
        MappedUser = mappedUser;
        _groups = groups;
        _capabilities = capabilities;
        IsInOurNamespace = isInOurNamespace;
    }

    /// <summary>The file-system user id as this process's user namespace has it.</summary>
    public uint User { get; }

    /// <summary>The same as the thread's own user namespace has it: what files of the thread have on a mount that is mapped for it, mount_setattr(2).</summary>
    public uint MappedUser { get; }

    /// <summary>Whether the thread's user namespace is this process's, so that its capabilities count here.</summary>
    public bool IsInOurNamespace { get; }

    /// <summary>Whether it has CAP_SYS_ADMIN here.</summary>
    public bool IsAdministrator => IsInOurNamespace && Has(SysAdmin);

    /// <summary>Whether it has CAP_FOWNER, or CAP_CHOWN, which lets it change owners as well, over the users that its namespace has.</summary>
    public bool MayActAsOwner => Has(Fowner) || Has(Chown);

    /// <summary>Asks for a thread.</summary>
    /// <returns>null when it does not exist or is out of sight.</returns>
    public static ThreadIdentity? Of(int thread)
    {
        try
        {
            return Parse(
                File.ReadAllText($"/proc/{thread}/status"),
                File.ResolveLinkTarget($"/proc/{thread}/ns/user", returnFinalTarget: false)?.Name == OurNamespace,
                () => File.ReadAllText($"/proc/{thread}/uid_map"),
                () => File.ReadAllText($"/proc/{thread}/gid_map"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // ENOENT, or ESRCH when the thread ends while it is looked at
        }
    }

    /// <summary>The same from the texts of the files.</summary>
    /// <param name="status"><c>status</c>.</param>
    /// <param name="isInOurNamespace">Whether <c>ns/user</c> is ours; the maps are not read then.</param>
    /// <param name="userMap">Reads <c>uid_map</c>.</param>
    /// <param name="groupMap">Reads <c>gid_map</c>.</param>
    public static ThreadIdentity? Parse(string status, bool isInOurNamespace, Func<string> userMap, Func<string> groupMap)
    {
        uint user = 0;
        var groups = new HashSet<uint>();
        var capabilities = 0UL;
        var isWhole = false;
        foreach (var line in status.Split('\n'))
        {
            var words = line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            switch (words.Length > 0 ? words[0] : "")
            {
                case "Uid:" when words.Length == 5: // real, effective, saved, file system
                    isWhole = Id(words[4], out user);
                    break;
                case "Gid:" when words.Length == 5 && Id(words[4], out var group):
                    groups.Add(group);
                    break;
                case "Groups:":
                    groups.UnionWith(words[1..].Where(word => Id(word, out _)).Select(word => uint.Parse(word, CultureInfo.InvariantCulture)));
                    break;
                case "CapEff:" when words.Length == 2:
                    _ = ulong.TryParse(words[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out capabilities);
                    break;
            }
        }

        if (!isWhole)
        {
            return null;
        }

        var mappedUser = user;
        if (!isInOurNamespace)
        {
            mappedUser = Inside(userMap(), user);
            var map = groupMap();
            groups.UnionWith([.. groups.Select(group => Inside(map, group))]);
        }

        return new ThreadIdentity(user, mappedUser, groups, capabilities, isInOurNamespace);
    }

    /// <summary>Whether it is in a group, as either namespace has it.</summary>
    public bool IsInGroup(uint group) => _groups.Contains(group);

    private static string OurNamespace { get; } = File.ResolveLinkTarget("/proc/self/ns/user", returnFinalTarget: false)?.Name ?? "";

    private static bool Id(string word, out uint id) => uint.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out id);

    /// <summary>An id as a namespace has it; 65534 when it has none (sysctl <c>kernel.overflowuid</c>).</summary>
    /// <param name="map">Lines of first id inside, first id outside, count.</param>
    /// <param name="outside">The id outside.</param>
    private static uint Inside(string map, uint outside)
    {
        foreach (var line in map.Split('\n'))
        {
            var words = line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 3 && Id(words[0], out var inner) && Id(words[1], out var outer) && Id(words[2], out var count)
                && outside >= outer && outside - outer < count)
            {
                return inner + (outside - outer);
            }
        }

        return 65534;
    }

    private bool Has(int capability) => (_capabilities & (1UL << capability)) != 0;
}
